"""Tiny random models of the real classes that score images: a CLIP with its processor, a DINOv2."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
    Dinov2Config,
    Dinov2Model,
)
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

SIDE, LIMIT = 16, 24


def clip(folder: Path, seed: int = 0) -> Path:
    """Write a CLIP whose tokenizer knows letters, digits and a few signs, one token each."""
    vocab: dict[str, int] = {"<|startoftext|>": 0, "<|endoftext|>": 1}
    for sign in 'abcdefghijklmnopqrstuvwxyz0123456789,."-':
        vocab[sign] = len(vocab)
        vocab[f"{sign}</w>"] = len(vocab)
    config = CLIPConfig(
        text_config={
            "vocab_size": len(vocab), "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 2, "max_position_embeddings": LIMIT, "bos_token_id": 0, "eos_token_id": 1,
            "pad_token_id": 1,
        },
        vision_config={
            "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": SIDE, "patch_size": 8,
        },
        projection_dim=8,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = CLIPModel(config).eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim > 1:
                weights.normal_(0, 0.3)  # as they are made, all images are nearly alike
    model.save_pretrained(folder)
    images = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    CLIPProcessor(images, CLIPTokenizer(vocab=vocab, merges=[], model_max_length=LIMIT)).save_pretrained(folder)
    return folder


def dino(folder: Path) -> Path:
    """Write a DINOv2 with its image processor."""
    torch.manual_seed(1)
    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=SIDE, patch_size=8, mlp_ratio=2,
    )  # fmt: skip
    model = Dinov2Model(config).eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim > 1:
                weights.normal_(0, 0.3)
    model.save_pretrained(folder)
    BitImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    ).save_pretrained(folder)  # fmt: skip
    return folder
