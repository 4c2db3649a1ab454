"""The parts of the world's vision-language model: its words, its image processor, its layers.

An Idefics3 (arXiv 2408.12637) in small: transformers trains it and vLLM serves it as it is. The image is one square of
64 pixels, 16 tokens of the prompt; the words are a byte-level BPE over what the world's names and questions need.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Idefics3Config, Idefics3ForConditionalGeneration, PreTrainedTokenizerFast

from ...scoring.critics.vlm import questions

SIZE, PATCH, SHUFFLE = 64, 8, 2
IMAGE_TOKENS = (SIZE // PATCH // SHUFFLE) ** 2
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
_MORE = ("<unk>", "<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>")
SPECIAL = (PAD, START, END, *_MORE)
YES, NO = "Yes", "No"
PHRASES = (
    "user\n",
    "assistant\n",
    "Does the image show",
    "Is the image in",
    "Is the background",
    "What does the image show?",
    "Which style is the image in?",
    "What is the background?",
    questions.YES_NO,
    questions.SHORTLY,
)
_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{% for p in m['content'] %}{% if p['type'] == 'image' %}<image>{% else %}{{ p['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer(texts: Iterable[str], words: int = 1536) -> PreTrainedTokenizerFast:
    """A byte-level BPE of ``words`` tokens learnt from ``texts``; "Yes" and "No" are one token each."""
    raw = Tokenizer(models.BPE(unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=words, special_tokens=list(SPECIAL), initial_alphabet=alphabet)
    raw.train_from_iterator([*texts, *([YES, NO] * 1000)], trainer)
    # What every question says is one token each, which makes prompts half as long.
    raw.add_tokens([AddedToken(phrase, normalized=False) for phrase in PHRASES])
    found = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token=PAD,
        eos_token=END,
        unk_token="<unk>",
        additional_special_tokens=[START, *_MORE[1:]],
    )
    if any(len(found.encode(answer)) != 1 for answer in (YES, NO)):
        raise ValueError("Yes and No must be one token each")
    return found


def processor(words: PreTrainedTokenizerFast) -> Any:
    """Images and messages -> what the model takes: one square an image, pixels in [-1, 1], the chat template."""
    from transformers import Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    half = [0.5, 0.5, 0.5]
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": SIZE},
        max_image_size={"longest_edge": SIZE},
        do_image_splitting=False,
        image_mean=half,
        image_std=half,
    )
    return Idefics3Processor(images, words, image_seq_len=IMAGE_TOKENS, chat_template=_TEMPLATE)


def model(words: PreTrainedTokenizerFast, eye: int = 192, depth: int = 5, hidden: int = 256) -> Any:
    """An untrained model: a vision transformer of ``depth`` layers ``eye`` wide, three Llama layers ``hidden`` wide."""
    config = Idefics3Config(
        vision_config={
            "hidden_size": eye,
            "intermediate_size": 4 * eye,
            "num_hidden_layers": depth,
            "num_attention_heads": eye // 64,
            "image_size": SIZE,
            "patch_size": PATCH,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": len(words),
            "hidden_size": hidden,
            "intermediate_size": 704,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 64,
            "max_position_embeddings": 1024,
            "pad_token_id": words.pad_token_id,
            "bos_token_id": words.convert_tokens_to_ids(START),
            "eos_token_id": words.eos_token_id,
            "tie_word_embeddings": False,
        },
        scale_factor=SHUFFLE,
        image_token_id=words.convert_tokens_to_ids("<image>"),
        pad_token_id=words.pad_token_id,
        tie_word_embeddings=False,
    )
    return Idefics3ForConditionalGeneration(config)


def save(folder: Path, net: Any, maker: Any) -> None:
    """Weights in half precision, configuration, words and processor: a folder that `from_pretrained` reads."""
    import copy

    import torch

    folder.mkdir(parents=True, exist_ok=True)
    half = copy.deepcopy(net).to(torch.float16)
    half.save_pretrained(folder)
    maker.save_pretrained(folder)
