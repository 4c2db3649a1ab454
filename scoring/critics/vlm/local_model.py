"""A vision-language model in this process, through transformers: from a folder as ``save_pretrained`` writes it."""

from __future__ import annotations

import hashlib
import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError

from ....bases import hub
from ....cleaning import clean
from ....errors import ExternalError, UserError
from ....files.hashing import file_sha256
from ....settings import user_path
from ...pretrained import quietly, whole
from .answers import FIRST, NO, SECOND, YES, spellings
from .backend import Backend
from .questions import ONE_OR_TWO, SHORTLY, YES_NO

_ON_HUB = re.compile(r"(?P<repo>[\w.-]{1,96}/[\w.-]{1,96})(?:@(?P<revision>[\w./-]{1,100}))?")
_MOST_WRITTEN = 24
"""Tokens of a short answer."""
_MAY_LACK = 0.02
"""Share of its weights that a folder may lack: some leave out a part that is never asked."""
_NOT_READ = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError, SafetensorError)
"""What transformers raises for a folder that holds no such model, or a damaged one."""
_NOT_TAKEN = (ValueError, TypeError, IndexError, KeyError, RuntimeError, ZeroDivisionError, OSError)
"""What a processor or a model raises for an image that it has no place for."""
Asked = tuple[tuple[Image.Image, ...], str]
"""Images, and what is asked about them."""
_log = logging.getLogger(__name__)


class LocalModel(Backend):
    """A model in a folder, loaded when first asked. Nothing but safetensors is opened, and no code of the folder runs.

    Args:
        folder: what ``save_pretrained`` of a model of images and text and of its processor wrote; or what gives that
            folder when it is first needed.
        device: where it runs.
        batch: questions that are answered at once.
        seconds: for one question; a model that takes longer is given up.
        pairs: whether two images may be shown at once; a model that was taught on single images has no answer to two.
    """

    def __init__(
        self,
        folder: Path | Callable[[], Path],
        *,
        title: str = "",
        device: str = "cpu",
        batch: int = 16,
        pairs: bool = True,
        seconds: float = 60.0,
    ) -> None:
        self._place = folder
        self._title = title
        self.device = device
        self.batch = batch
        self.seconds = seconds
        self._pairs = pairs
        self._known: dict[tuple[str, ...], list[int]] = {}

    @classmethod
    def of(cls, name: str, *, device: str = "cpu", batch: int = 16, seconds: float = 60.0) -> LocalModel:
        """The model in a folder, or of a repository on the Hub ("owner/name", "owner/name@revision"), which is fetched
        when it is first needed.

        Raises:
            UserError: it is neither, or the folder holds no model.
        """
        folder = user_path(name)
        if folder.is_dir():
            if not (folder / "config.json").is_file():
                raise UserError(f"{folder} holds no model: there is no config.json in it.")
            return cls(folder, device=device, batch=batch, seconds=seconds)
        if (found := _ON_HUB.fullmatch(name)) is None:
            raise UserError(f"There is no folder {folder}, and {clean(name, 80)!r} is no id on the Hub (owner/name).")
        repo, revision = found["repo"], found["revision"] or ""
        return cls(partial(hub.model, repo, revision), title=name, device=device, batch=batch, seconds=seconds)

    @cached_property
    def folder(self) -> Path:
        """Where the model lies on this machine. Raises as `hub.model` does where it must be fetched."""
        return self._place if isinstance(self._place, Path) else self._place()

    @property
    def pairs(self) -> bool:
        """Whether two images may be shown at once."""
        return self._pairs

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
        """What it was called, or the folder's name."""
        return self._title or self.folder.name

    def answers(self, asked: Sequence[tuple[Image.Image, str]]) -> np.ndarray[Any, Any]:
        """P(yes) of each question about its image: float64 (n,), 0..1; nan where the model cannot take the image."""
        found = self._probabilities([((image,), question + YES_NO) for image, question in asked], YES, NO)
        if found and np.isnan(found).all():
            raise ExternalError(
                f"The vision model {self.title} cannot take any of {len(found)} questions about images."
            )
        return np.asarray(found, dtype=np.float64)

    def first_probability(self, a: Image.Image, b: Image.Image, question: str) -> float:
        """P that the choice between two images falls on the first one shown."""
        return self._probabilities([((a, b), question + ONE_OR_TWO)], FIRST, SECOND)[0]

    def describe(self, image: Image.Image, questions: Sequence[str]) -> list[str]:
        """A short answer to each open question, the likeliest tokens one by one."""
        out: list[str] = []
        for part in self._parts([((image,), question + SHORTLY) for question in questions]):
            inputs = self._inputs(part)
            with torch.inference_mode():
                written = self._model.generate(
                    **inputs, max_new_tokens=_MOST_WRITTEN, do_sample=False, max_time=self.seconds * len(part)
                )
            said = written[:, inputs["input_ids"].shape[1] :]
            out += self._processor.batch_decode(said, skip_special_tokens=True)
        return out

    def name_likelihoods(self, asked: Sequence[tuple[Image.Image, str, str]]) -> np.ndarray[Any, Any]:
        """Log-probability that a name is the whole answer to an open question about an image.

        Args:
            asked: image, open question, name.

        Returns:
            float64 (n,), at most 0; nan where the model cannot take the image.
        """
        out: list[float] = []
        for start in range(0, len(asked), self.batch):
            out += self._named(asked[start : start + self.batch])
        return np.asarray(out, dtype=np.float64)

    def _named(self, part: Sequence[tuple[Image.Image, str, str]]) -> list[float]:
        """Of a few at once; what the model cannot take is tried one by one, as in `_of_part`."""
        tokenizer = self._processor.tokenizer
        names = [[*tokenizer.encode(name, add_special_tokens=False), tokenizer.eos_token_id] for _, _, name in part]
        most = max(map(len, names))
        goals = torch.tensor([[*ids, *[tokenizer.pad_token_id] * (most - len(ids))] for ids in names])
        there = torch.tensor([[1] * len(ids) + [0] * (most - len(ids)) for ids in names])
        try:
            with torch.inference_mode():
                inputs = self._inputs([((image,), question + SHORTLY) for image, question, _ in part])
                start = inputs["input_ids"].shape[1]
                goals, there = goals.to(self.device), there.to(self.device)
                inputs["input_ids"] = torch.cat([inputs["input_ids"], goals], dim=1)
                inputs["attention_mask"] = mask = torch.cat([inputs["attention_mask"], there], dim=1)
                places = (mask.cumsum(1) - 1).clamp_min(0)  # padded on the left, so counted here
                logits = self._model(**inputs, position_ids=places, use_cache=False).logits[:, start - 1 : -1].double()
        except _NOT_TAKEN as error:
            if len(part) > 1:
                return [p for one in part for p in self._named([one])]
            _log.warning("The vision model %s cannot take an image: %s", self.title, clean(str(error), 200))
            return [math.nan]
        each = logits.log_softmax(-1).gather(2, goals[..., None])[..., 0]
        return [float(p) for p in (each * there).sum(1)]

    def _probabilities(self, asked: Sequence[Asked], yes: Sequence[str], no: Sequence[str]) -> list[float]:
        """The first token's P(yes) of (P(yes) + P(no)), each summed over its spellings."""
        out: list[float] = []
        for part in self._parts(asked):
            began = time.monotonic()
            out += self._of_part(part, self._tokens(tuple(yes)), self._tokens(tuple(no)))
            took = (time.monotonic() - began) / len(part)
            if took > self.seconds:
                raise ExternalError(
                    f"The vision model {self.title} takes {took:.0f} s for a question, over the {self.seconds:g} s of "
                    "DIFFGRAPH_CRITIC_TIMEOUT. Raise it, or take a smaller model or a server."
                )
        return out

    def _of_part(self, part: Sequence[Asked], for_yes: list[int], for_no: list[int]) -> list[float]:
        """P of a few questions at once. What the model cannot take (a size, a shape, too much memory) is tried one by
        one, and is nan where it cannot be taken alone.
        """
        try:
            with torch.inference_mode():
                # generate pads on the left and counts positions for every model class, where forward leaves it to us
                done = self._model.generate(
                    **self._inputs(part), max_new_tokens=1, do_sample=False, output_logits=True,
                    return_dict_in_generate=True,
                )  # fmt: skip
        except _NOT_TAKEN as error:
            if len(part) > 1:
                return [p for one in part for p in self._of_part([one], for_yes, for_no)]
            _log.warning("The vision model %s cannot take an image: %s", self.title, clean(str(error), 200))
            return [math.nan]
        logits = done.logits[0].double()
        margin = logits[:, for_yes].logsumexp(1) - logits[:, for_no].logsumexp(1)
        return [float(p) for p in torch.sigmoid(margin)]

    def _parts(self, asked: Sequence[Asked]) -> Iterator[Sequence[Asked]]:
        for start in range(0, len(asked), self.batch):
            yield asked[start : start + self.batch]

    def _inputs(self, asked: Sequence[Asked]) -> Any:
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
            with quietly():
                found, told = AutoModelForImageTextToText.from_pretrained(
                    self.folder, dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True,
                    output_loading_info=True,
                )  # fmt: skip
        except _NOT_READ as error:
            raise self._unreadable(error) from error
        missing = told["missing_keys"]
        whole(self.folder, missing if len(missing) > _MAY_LACK * len(found.state_dict()) else ())
        return found.eval().to(self.device)

    def _unreadable(self, error: Exception) -> UserError:
        return UserError(
            f"The vision model in {self.folder} cannot be read: {' '.join(str(error).split())[:300]}. "
            "It must be a folder as transformers' save_pretrained writes it, of a model that takes images and text."
        )
