"""A vision-language model in this process, through transformers: from a folder as ``save_pretrained`` writes it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError

from ....errors import UserError
from ....files.hashing import file_sha256
from .answers import FIRST, NO, SECOND, YES, spellings
from .questions import ONE_OR_TWO, SHORTLY, YES_NO

_MOST_WRITTEN = 24
"""Tokens of a short answer."""
_NOT_READ = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError, SafetensorError)
"""What transformers raises for a folder that holds no such model, or a damaged one."""


class LocalModel:
    """A model in a folder, loaded when first asked. Nothing but safetensors is opened, and no code of the folder runs.

    Args:
        folder: what ``save_pretrained`` of a model of images and text and of its processor wrote.
        device: where it runs.
        batch: questions that are answered at once.
        pairs: whether two images may be shown at once; a model that was taught on single images has no answer to two.
    """

    def __init__(self, folder: Path, *, device: str = "cpu", batch: int = 16, pairs: bool = True) -> None:
        self.folder = folder
        self.device = device
        self.batch = batch
        self.pairs = pairs
        self._known: dict[tuple[str, ...], list[int]] = {}

    @cached_property
    def identity(self) -> str:
        """Hash of the folder's weights and of all that decides how they are used. UserError if they are absent."""
        names = sorted(
            path
            for path in self.folder.glob("*")
            if path.suffix in (".safetensors", ".json", ".jinja", ".txt", ".model")
        )
        if not any(path.suffix == ".safetensors" for path in names):
            raise UserError(f"{self.folder} holds no vision model: there is no .safetensors file in it.")
        listed = "".join(f"{path.name}\n{file_sha256(path)}\n" for path in names)
        return hashlib.sha256(listed.encode()).hexdigest()

    @property
    def title(self) -> str:
        """The folder's name."""
        return self.folder.name

    def yes_probabilities(self, images: Sequence[Image.Image], questions: Sequence[str]) -> np.ndarray[Any, Any]:
        """P(yes) of every question about every image: float64 (n_images, n_questions), 0..1."""
        asked = [((image,), question + YES_NO) for image in images for question in questions]
        found = np.asarray(self._probabilities(asked, YES, NO), dtype=np.float64)
        return found.reshape(len(images), len(questions))

    def first_probability(self, a: Image.Image, b: Image.Image, question: str) -> float:
        """P that the choice between two images falls on the first one shown."""
        return self._probabilities([((a, b), question + ONE_OR_TWO)], FIRST, SECOND)[0]

    def describe(self, image: Image.Image, questions: Sequence[str]) -> list[str]:
        """A short answer to each open question, the likeliest tokens one by one."""
        out: list[str] = []
        for part in self._parts([((image,), question + SHORTLY) for question in questions]):
            inputs = self._inputs(part)
            with torch.inference_mode():
                written = self._model.generate(**inputs, max_new_tokens=_MOST_WRITTEN, do_sample=False)
            said = written[:, inputs["input_ids"].shape[1] :]
            out += self._processor.batch_decode(said, skip_special_tokens=True)
        return out

    def _probabilities(
        self, asked: Sequence[tuple[tuple[Image.Image, ...], str]], yes: Sequence[str], no: Sequence[str]
    ) -> list[float]:
        """The first token's P(yes) of (P(yes) + P(no)), each summed over its spellings."""
        for_yes, for_no = self._tokens(tuple(yes)), self._tokens(tuple(no))
        out: list[float] = []
        for part in self._parts(asked):
            with torch.inference_mode():
                # generate pads on the left and counts positions for every model class, where forward leaves it to us
                done = self._model.generate(
                    **self._inputs(part), max_new_tokens=1, do_sample=False, output_logits=True,
                    return_dict_in_generate=True,
                )  # fmt: skip
            logits = done.logits[0].double()
            margin = logits[:, for_yes].logsumexp(1) - logits[:, for_no].logsumexp(1)
            out += torch.sigmoid(margin).tolist()
        return out

    def _parts(
        self, asked: Sequence[tuple[tuple[Image.Image, ...], str]]
    ) -> Iterator[Sequence[tuple[tuple[Image.Image, ...], str]]]:
        for start in range(0, len(asked), self.batch):
            yield asked[start : start + self.batch]

    def _inputs(self, asked: Sequence[tuple[tuple[Image.Image, ...], str]]) -> Any:
        talks = [
            [
                {
                    "role": "user",
                    "content": [
                        *({"type": "image", "image": image.convert("RGB")} for image in images),
                        {"type": "text", "text": text},
                    ],
                }
            ]
            for images, text in asked
        ]
        inputs = self._processor.apply_chat_template(
            talks, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
            processor_kwargs={"padding": True},
        )  # fmt: skip
        return inputs.to(self.device)

    def _tokens(self, words: tuple[str, ...]) -> list[int]:
        """Tokens of the vocabulary that mean one of ``words``."""
        if words not in self._known:
            tokenizer = self._processor.tokenizer
            found = {
                int(ids[0])
                for text in spellings(words)
                for ids in (
                    tokenizer.encode(text, add_special_tokens=False),
                    [token for token in [tokenizer.get_vocab().get(text)] if token is not None],
                )
                if len(ids) == 1 and ids[0] != tokenizer.unk_token_id
            }
            if not found:
                raise UserError(
                    f"{self.folder} cannot be asked yes/no questions: its vocabulary has no token for {words[0]!r}."
                )
            self._known[words] = sorted(found)
        return self._known[words]

    @cached_property
    def _processor(self) -> Any:
        from transformers import AutoProcessor

        try:
            found = AutoProcessor.from_pretrained(self.folder, local_files_only=True, trust_remote_code=False)
            found.tokenizer.padding_side = "left"
        except _NOT_READ as error:
            raise self._unreadable(error) from error
        if not getattr(found, "chat_template", None):
            raise UserError(f"The model in {self.folder} has no chat template, so it cannot be asked anything.")
        return found

    @cached_property
    def _model(self) -> Any:
        from transformers import AutoModelForImageTextToText

        dtype = torch.float32 if torch.device(self.device).type == "cpu" else "auto"
        try:
            found = AutoModelForImageTextToText.from_pretrained(
                self.folder, dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True
            )
        except _NOT_READ as error:
            raise self._unreadable(error) from error
        return found.eval().to(self.device)

    def _unreadable(self, error: Exception) -> UserError:
        return UserError(
            f"The vision model in {self.folder} cannot be read: {' '.join(str(error).split())[:300]}. "
            "It must be a folder as transformers' save_pretrained writes it, of a model that takes images and text."
        )
