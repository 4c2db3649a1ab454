"""Small tokenizers of the real classes: bytes, and the words of some prompts merged, so that lengths are about real."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer, GemmaTokenizer, PreTrainedTokenizerFast, Qwen2Tokenizer, T5TokenizerFast

WORDS = """
a an the of in on with and without under at by as is no not to for from over near style photo painting drawing
portrait picture image masterpiece best quality high low resolution detailed highly score up source anime girl boy woman
man cat dog fox whale car house lighthouse bicycle castle forest beach mountain street city night day sunset sunrise sky
starry stars rain snow fog light lighting cinematic soft golden hour depth field film grain bokeh pixel art blueprint
watercolor ink oil neon vaporwave sketch poster sign that says open hello world red blue green yellow black white long
short hair eyes dress smile looking viewer solo standing sitting running sleeping old young small big tiny giant wooden
blurry hands worst bad negative prompt seed steps break axolotl soccer ball instruction draw make me please what would
describe key objects color shape size texture quantity text spatial relationships background system user assistant"""
_CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for part in m['content'] %}{{ part['text'] }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@cache
def _byte_pairs(suffix: str) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of a byte-level BPE; ``suffix`` ends words (CLIP), else a space begins them."""
    end = {"end_of_word_suffix": suffix} if suffix else {}
    tokenizer = Tokenizer(models.BPE(**end))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=not suffix)
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1200, show_progress=False, initial_alphabet=sorted(letters), **end)
    tokenizer.train_from_iterator(sorted(WORDS.split()), trainer)
    state = json.loads(tokenizer.to_str())["model"]
    vocab = dict(state["vocab"])
    for letter in sorted(letters):
        vocab.setdefault(letter + suffix, len(vocab))
    return vocab, [tuple(pair) if isinstance(pair, list) else tuple(pair.split()) for pair in state["merges"]]


def clip() -> CLIPTokenizer:
    """CLIP's, 77 tokens long."""
    vocab, merges = _byte_pairs("</w>")
    vocab = vocab | {"<|startoftext|>": len(vocab), "<|endoftext|>": len(vocab) + 1}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)


def t5(limit: int = 512) -> T5TokenizerFast:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [("▁" + word, -3.0) for word in dict.fromkeys(WORDS.split())]
    taken = {piece for piece, _ in pieces}
    letters = map(chr, range(33, 127))
    pieces += [(letter, -6.0) for letter in letters if letter not in taken]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    options: dict[str, Any] = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return T5TokenizerFast(tokenizer_object=tokenizer, model_max_length=limit, extra_ids=0, **options)


def qwen() -> Qwen2Tokenizer:
    vocab, merges = _byte_pairs("")
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    vocab = vocab | {token: len(vocab) + place for place, token in enumerate(special)}
    tokenizer = Qwen2Tokenizer(vocab=vocab, merges=merges, model_max_length=2048)
    tokenizer.chat_template = _CHAT
    return tokenizer


def chat() -> PreTrainedTokenizerFast:
    """Of Mistral's and Llama's place: the same bytes under the class that any tokenizer can be read with."""
    vocab, merges = _byte_pairs("")
    special = ("<s>", "</s>", "<pad>", "<unk>")
    vocab = vocab | {token: len(vocab) + place for place, token in enumerate(special)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    options: dict[str, Any] = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    out = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=2048, **options)
    out.chat_template = _CHAT
    return out


def gemma() -> GemmaTokenizer:
    letters = ["▁", *map(chr, range(33, 127))]
    vocab = {token: place for place, token in enumerate(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *letters])}
    return GemmaTokenizer(vocab=vocab, merges=[], model_max_length=2048)
