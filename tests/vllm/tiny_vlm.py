"""A tiny vision-language model of the real classes with random weights: an Idefics3 that transformers and vLLM read.

It is taught nothing, so what it says of an image is no truth; what is compared is what two engines make of the same
weights. Random weights alone would put neither Yes nor No among the 20 likeliest tokens, and nobody could read P(yes)
off them: `_lead` turns the two rows of the last layer that say them, so that both always lead and the image decides
between them.
"""

from __future__ import annotations

import base64
import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    PreTrainedTokenizerFast,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from diffgraph.scoring.critics.vlm.questions import YES_NO, question
from diffgraph.scoring.request import Wanted

SIDE, PATCH, SHUFFLE = 64, 16, 2
SEEN = (SIDE // PATCH // SHUFFLE) ** 2
PAD, START, END, IMAGE = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>"
MORE = ("<unk>", "<fake_token_around_image>", IMAGE, "<end_of_utterance>", "<global-img>")
COLOURS = {"red": (220, 30, 30), "green": (30, 170, 50), "blue": (30, 60, 220), "yellow": (240, 220, 40)}
SHAPES = ("circle", "square")
LEAD, APART = 12.0, 2.0
"""Of the logits: how far Yes and No lead, and how far they lie apart for an image that is a standard deviation off."""
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def picture(ink: str, paper: str, shape: str, chance: random.Random) -> Image.Image:
    """A shape of one colour somewhere on another."""
    image = Image.new("RGB", (SIDE, SIDE), COLOURS[paper])
    side, x, y = chance.randint(24, 40), chance.randint(2, 20), chance.randint(2, 20)
    draw = ImageDraw.Draw(image)
    (draw.ellipse if shape == "circle" else draw.rectangle)((x, y, x + side, y + side), COLOURS[ink])
    return image


def atoms() -> list[Wanted]:
    """All that it may be asked for: shapes of a colour, and backgrounds."""
    shapes = [Wanted(facet="subject", text=f"{colour} {shape}") for colour in COLOURS for shape in SHAPES]
    return [*shapes, *(Wanted(facet="background", text=colour) for colour in COLOURS)]


def images(count: int, seed: int = 0) -> list[Image.Image]:
    """Pictures of all sorts of colours and shapes."""
    chance = random.Random(seed)
    return [picture(*chance.sample(list(COLOURS), 2), chance.choice(SHAPES), chance) for _ in range(count)]


def asked(wanted: Wanted) -> str:
    """The words of a question as the critic sends them."""
    return question(wanted) + YES_NO


def build(folder: Path) -> Path:
    """Make and save the model; returns ``folder``."""
    torch.manual_seed(3)
    words = _words()
    eye = Idefics3ImageProcessorPil(
        size={"longest_edge": SIDE},
        max_image_size={"longest_edge": SIDE},
        do_image_splitting=False,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    processor = Idefics3Processor(eye, words, image_seq_len=SEEN, chat_template=TEMPLATE)
    model = _model(words).eval()
    _lead(model, processor)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _words() -> PreTrainedTokenizerFast:
    raw = Tokenizer(models.BPE(unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=480,
        special_tokens=[PAD, START, END, *MORE],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(
        [*(asked(atom) for atom in atoms()), *(["Yes", "No", "user\n", "assistant\n"] * 50)], trainer
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token=PAD,
        eos_token=END,
        unk_token="<unk>",
        additional_special_tokens=[START, *MORE[1:]],
    )


def _model(words: PreTrainedTokenizerFast) -> Any:
    config = Idefics3Config(
        vision_config={
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": PATCH,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": len(words),
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 64,
            "max_position_embeddings": 1024,
            "pad_token_id": words.pad_token_id,
            "bos_token_id": words.convert_tokens_to_ids(START),
            "eos_token_id": words.eos_token_id,
            "tie_word_embeddings": False,
        },
        scale_factor=SHUFFLE,
        image_token_id=words.convert_tokens_to_ids(IMAGE),
        pad_token_id=words.pad_token_id,
        tie_word_embeddings=False,
    )
    return Idefics3ForConditionalGeneration(config)


@torch.inference_mode()
def _lead(model: Any, processor: Any) -> None:
    """Turn the rows of Yes and No: both along the mean of what the last layer is given, so that they lead, and apart
    along what differs most from image to image and question to question, so that P(yes) is anything from 0 to 1.
    """
    talks = [
        [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": asked(atom)}]}]
        for image, atom in zip(images(48), atoms() * 4, strict=True)
    ]
    inputs = processor.apply_chat_template(
        talks, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
        processor_kwargs={"padding": True, "padding_side": "left"},
    )  # fmt: skip
    given = model.model(**inputs).last_hidden_state[:, -1]
    mean = given.mean(0)
    _, spread, axes = torch.linalg.svd(given - mean, full_matrices=False)
    apart = axes[0] * len(given) ** 0.5 / spread[0]  # a standard deviation of it is 1
    apart = apart - mean * (apart @ mean) / (mean @ mean)
    for word, sign in (("Yes", 1), ("No", -1)):
        row = processor.tokenizer.convert_tokens_to_ids(word)
        model.lm_head.weight[row] = LEAD * mean / (mean @ mean) + sign * APART / 2 * apart


def noise(seed: int) -> Image.Image:
    """An image that shows nothing."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))


def uri(image: Image.Image) -> str:
    """An image as a PNG inside a data URI."""
    out = io.BytesIO()
    image.save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")
