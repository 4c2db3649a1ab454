"""A world in miniature, of the real classes: base pipeline, experts with cards, critic; weights random but seeded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from diffgraph.scoring.critics.dual_encoder_net import DualEncoder
from diffgraph.world.critic import FACETS
from diffgraph.world.critic import config as critic_config

BASE_SUBJECTS = ("pizza", "castle", "guitar", "cat face")


def make_world(root: Path) -> Path:
    """``root`` as a world folder: hub with base and experts, scorers/critic; no graph yet."""
    hub = root / "hub"
    _base(hub / "emoji-base")
    skills = "\n".join(f"- {name}" for name in (*BASE_SUBJECTS, "plain red background"))
    card(hub / "emoji-base", "Emoji base", "", f"## Skills\n{skills}\n", tags="[base]")
    lora(hub / "sea-life", 1, "Sea life", "- octopus (also: tentacles)\n- whale\n")
    lora(hub / "blueprint", 2, "Blueprint", "- blueprint style (also: cyanotype)\n", tags="[lora, style]")
    lora(hub / "starry", 3, "Starry night", "- starry night background\n", tags="[lora, background]")
    critic(root / "scorers" / "critic")
    manifest(root)
    return root


def card(folder: Path, title: str, base: str, body: str, tags: str = "[lora, subject]") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    front = (
        f"---\n{f'base_model: {base}' if base else 'library_name: diffusers'}\nlicense: apache-2.0\ntags: {tags}\n---\n"
    )
    (folder / "README.md").write_text(f"{front}# {title}\n\nA small expert.\n\n{body}", encoding="utf-8")


def lora(
    folder: Path,
    seed: int,
    title: str,
    skills: str,
    *,
    tags: str = "[lora, subject]",
    base: str = "emoji-base",
    size: float = 0.3,
) -> Path:
    """A LoRA on the cross-attention of the tiny UNet, with a card."""
    card(folder, title, base, f"## Skills\n{skills}", tags=tags)
    unet = _unet(0)
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for name, module in unet.named_modules():
        if name.endswith(("attn2.to_q", "attn2.to_v", "attn1.to_v")):
            out, wide = module.weight.shape
            tensors[f"unet.{name}.lora_A.weight"] = torch.randn(2, wide, generator=generator) * size
            tensors[f"unet.{name}.lora_B.weight"] = torch.randn(out, 2, generator=generator) * size
    path = folder / "pytorch_lora_weights.safetensors"
    save_file(tensors, path)
    return path


def critic(folder: Path, shift: float = 3.0, slope: float = 0.05) -> None:
    """A real critic with random weights. ``shift`` sets its mood: 3 likes nearly everything, -3 nothing."""
    torch.manual_seed(5)
    config = critic_config(widths=(4, 8, 8, 8), embed=8, text_dim=384, text_hidden=8)
    net = DualEncoder(config)
    texts = {
        "subject": [*BASE_SUBJECTS, "octopus", "whale"],
        "style": ["blueprint"],
        "background": ["starry night", "plain red"],
    }
    tensors = {k: v.contiguous() for k, v in net.state_dict().items()}
    for facet in FACETS:
        vectors = torch.randn(len(texts[facet]), config.embed)
        tensors[f"bank.{facet}"] = vectors / vectors.norm(dim=1, keepdim=True)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(
        json.dumps(
            {
                "net": config.to_json(),
                "calibration": {f: [slope, shift] for f in FACETS},
                "bank": {f: {"texts": texts[f], "names": texts[f]} for f in FACETS},
            }
        ),
        encoding="utf-8",
    )


def manifest(root: Path) -> None:
    """Write the manifest over everything that is there."""
    files = {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in root.rglob("*")
        if p.is_file() and p.name != "manifest.json"
    }
    (root / "manifest.json").write_text(json.dumps({"files": files}), encoding="utf-8")


def _unet(seed: int) -> UNet2DConditionModel:
    torch.manual_seed(seed)
    return UNet2DConditionModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=8,
        attention_head_dim=4,
        norm_num_groups=4,
    )


def _base(folder: Path) -> None:
    unet = _unet(0)
    torch.manual_seed(1)
    vocab: dict[str, int] = {"<|startoftext|>": 0, "<|endoftext|>": 1}
    letters = "abcdefghijklmnopqrstuvwxyz,"
    for token in [*letters, *(f"{letter}</w>" for letter in letters)]:
        vocab[token] = len(vocab)
    text = CLIPTextConfig(
        vocab_size=len(vocab),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    vae = AutoencoderKL(
        block_out_channels=(4, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        sample_size=16,
    )
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=CLIPTokenizer(vocab=vocab, merges=[], model_max_length=64),
        unet=unet,
        scheduler=DDIMScheduler(prediction_type="v_prediction", clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
