"""A tiny random vision-language model of the real classes, with a vocabulary and a chat template of its own."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    LlamaConfig,
    PreTrainedTokenizerFast,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

PAD, START, END, UNKNOWN = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<unk>"
AROUND, IMAGE, STOP, WHOLE = "<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>"
SPECIALS = [PAD, START, END, UNKNOWN, AROUND, IMAGE, STOP, WHOLE]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = "Yes No yes no Does the image show a red fox? Is the background blue? Answer yes or no. 1 2 3 image better: "


def build(folder: Path, seed: int = 0) -> Path:
    """Write the model and its processor to ``folder``."""
    tokenizer = _tokenizer()
    vocabulary = tokenizer.get_vocab()
    processor = Idefics3Processor(
        Idefics3ImageProcessorPil(
            size={"longest_edge": 32}, max_image_size={"longest_edge": 32}, do_image_splitting=False,
            image_mean=[0.5] * 3, image_std=[0.5] * 3,
        ),
        tokenizer,
        image_seq_len=4,
        chat_template=TEMPLATE,
    )  # fmt: skip
    torch.manual_seed(seed)
    ids = {"pad_token_id": vocabulary[PAD], "eos_token_id": vocabulary[END], "bos_token_id": vocabulary[START]}
    text = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=512, initializer_range=0.3, **ids,
    )  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": 32, "patch_size": 8, "initializer_range": 0.3,
    }  # fmt: skip
    config = Idefics3Config(
        text_config=text, vision_config=vision, image_token_id=vocabulary[IMAGE], scale_factor=2,
        pad_token_id=vocabulary[PAD],
    )  # fmt: skip
    model = Idefics3ForConditionalGeneration(config).eval()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _tokenizer() -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator([WORDS] * 8, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=PAD, eos_token=END, bos_token=START, unk_token=UNKNOWN
    )
    made.add_special_tokens({"additional_special_tokens": [AROUND, IMAGE, STOP, WHOLE]})
    return made
