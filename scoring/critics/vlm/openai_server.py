"""A vision model behind any server that speaks OpenAI's chat completions: vLLM, llama.cpp, a hosted one."""

from __future__ import annotations

import base64
import io
import logging
import math
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from ....cleaning import clean
from ....errors import ExternalError, UserError
from .answers import FIRST, NO, SECOND, YES
from .backend import Backend
from .forms import FORMS, THINKING, Form, Neither, NoGrade, NoLogprobs, json_of, schema
from .questions import ONE_OR_TWO, SHORTLY, YES_NO
from .settings import VlmSettings
from .side_by_side import side_by_side
from .wire import Choice, Json, Refused, Wire

OPENAI = "https://api.openai.com/v1"
LARGEST_SIDE = 1024
"""Pixels; larger images are sent smaller: servers charge by size, and bound it."""
_GRACE = 2.0
_WORDS = r"^[A-Za-z0-9 ,.'-]{1,60}$"
"""Of what is seen: also what keeps a weak model from writing blanks until it is cut."""
_WRITTEN = 60
"""Tokens for what is seen instead of one thing."""
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class OpenAIServer(Backend):
    """A model at a server.

    In which form it answers (the probabilities of its first token, or a grade that it gives itself) is found out with
    the first image that it takes, and kept.

    Args:
        model: as the server calls it.
        wire: the server.
        at_once: questions that are under way at the same time.
    """

    def __init__(self, model: str, wire: Wire, *, at_once: int = 8) -> None:
        self.model = model
        self.wire = wire
        self.at_once = at_once
        self._pairs = True
        self._form: Form | None = None
        self._finding_out = threading.Lock()
        self._answered = False

    @classmethod
    def of_settings(cls, model: str, settings: VlmSettings) -> OpenAIServer:
        """The server that the settings name; without a model's name, the first model that it says it serves.

        Raises:
            UserError: the address is none, or no model is named and the server names none either.
        """
        shared = os.environ.get("OPENAI_BASE_URL") or OPENAI
        url = settings.critic_url or shared
        key = settings.critic_key.get_secret_value().strip() if settings.critic_key else ""
        if not key and url == shared:  # a key is for the server that it was set beside
            key = os.environ.get("OPENAI_API_KEY", "").strip()
        wire = Wire(url, key, timeout=settings.critic_timeout, retries=settings.critic_retries)
        served = [model] if model else wire.models()
        if not served:
            raise UserError(
                f"No server at {wire.host} says which models it serves. Is it running? Or name one, as "
                "vlm:openai:MODEL does."
            )
        return cls(served[0], wire, at_once=settings.critic_at_once)

    @property
    def identity(self) -> str:
        """The model's name, at whatever address it is served."""
        return f"openai:{self.model}"

    @property
    def title(self) -> str:
        """The model and where it runs; of one that grades it is said, because grades are no probabilities."""
        graded = self._form is not None and self._form.graded
        how = ", by grades of its own from 0 to 10: its server tells no probabilities" if graded else ""
        return f"{clean(self.model, 80)} at {self.wire.host}{how}"

    @property
    def pairs(self) -> bool:
        """Whether it takes two images at once, as far as is known."""
        return self._pairs

    def answers(self, asked: Sequence[tuple[Image.Image, str]]) -> np.ndarray[Any, Any]:
        """P(yes) of each question about its image: float64 (n,); nan where the model answered neither yes nor no, or
        the server refuses the image.
        """
        sent = {id(image): _data_uri(image) for image, _ in asked}
        jobs = [partial(self._answer, [sent[id(image)]], question) for image, question in asked]
        found = self._all(jobs, forms=len(FORMS) if self._form is None else 1)
        out = [math.nan if isinstance(one, Exception) else one for one in found]
        wrong = [one for one in found if isinstance(one, Exception)]
        self._answered = self._answered or len(wrong) < len(found)
        if wrong and not self._answered:
            raise self._useless(wrong[0]) from wrong[0]
        for one in wrong:
            _log.warning("An answer of the critic was left out: %s", one)
        return np.asarray(out, dtype=np.float64)

    def first_probability(self, a: Image.Image, b: Image.Image, question: str) -> float:
        """P that the choice between two images falls on the first one shown; nan where it says nothing, or takes no two
        images at once.
        """
        try:
            return self._all([partial(self._first, [_data_uri(a), _data_uri(b)], question)])[0]
        except Refused:
            self._pairs = False
        except (Neither, NoLogprobs):
            pass
        return math.nan

    def describe(self, image: Image.Image, questions: Sequence[str]) -> list[str]:
        """A short answer to each open question, all in one structured answer; "" where it gave none."""
        keys = [f"answer_{number}" for number, _ in enumerate(questions, 1)]
        lines = [f"{key}: {question}" for key, question in zip(keys, questions, strict=True)]
        text = "Look at the image and answer these questions as a JSON object." + SHORTLY + "\n" + "\n".join(lines)
        fields: Json = {
            key: {"type": "string", "description": question, "pattern": _WORDS}
            for key, question in zip(keys, questions, strict=True)
        }
        plain: Json = {key: {k: v for k, v in field.items() if k != "pattern"} for key, field in fields.items()}
        most = _WRITTEN * len(questions) + 40
        options: list[Json] = [
            {"response_format": schema("seen", fields), "max_tokens": most, "temperature": 0},
            {"response_format": schema("seen", plain), "max_completion_tokens": most + THINKING},
            {"max_tokens": most, "temperature": 0},
        ]
        uri = _data_uri(image)
        for option in options:
            try:
                said = json_of(self._all([partial(self._choice, [uri], text, option)])[0].text)
            except Refused:
                continue
            return [value if isinstance(value := said.get(key), str) else "" for key in keys]
        return ["" for _ in keys]

    def _answer(self, uris: Sequence[str], question: str) -> float | Refused | Neither | NoLogprobs:
        try:
            return self._probability(uris, question, YES_NO, YES, NO)
        except (Refused, Neither, NoLogprobs) as error:  # a server with many machines behind it may tell some only
            return error

    def _probability(
        self, uris: Sequence[str], question: str, ending: str, yes: Sequence[str], no: Sequence[str]
    ) -> float:
        form = self._form
        if form is None:
            with self._finding_out:
                if self._form is None:
                    return self._found_out(FORMS, uris, question, ending, yes, no)
                form = self._form
        return self._in_form(form, uris, question, ending, yes, no)

    def _first(self, uris: Sequence[str], question: str) -> float:
        """P of the first of two images; where the server tells no probabilities, the model's own word. A choice never
        settles that the model is to grade: what it is asked for then is no grade.
        """
        form, asked = self._form, (uris, question, ONE_OR_TWO, FIRST, SECOND)
        if form is not None and not form.graded:
            return self._in_form(form, *asked)
        if form is None:
            try:
                return self._found_out([form for form in FORMS if not form.graded], *asked)
            except (Refused, NoLogprobs):
                pass
        return self._chosen(uris, question)

    def _found_out(
        self,
        forms: Sequence[Form],
        uris: Sequence[str],
        question: str,
        ending: str,
        yes: Sequence[str],
        no: Sequence[str],
    ) -> float:
        """The answer in the first form in which the server gives one."""
        refused: Refused | NoGrade | None = None
        for form in forms:
            try:
                found = self._in_form(form, uris, question, ending, yes, no)
            except Refused as error:
                refused = refused or error
            except NoLogprobs:
                continue
            except NoGrade as error:
                refused = error
            else:
                self._form = form
                return found
        raise refused or NoLogprobs("the server told no probabilities")

    def _in_form(
        self, form: Form, uris: Sequence[str], question: str, ending: str, yes: Sequence[str], no: Sequence[str]
    ) -> float:
        text = question + (ending if form.ending is None else form.ending)
        return form.read(self._choice(uris, text, form.options), yes, no)

    def _chosen(self, uris: Sequence[str], question: str) -> float:
        """1 for the first of two images, 0 for the second, as a model that grades says it; nan for neither."""
        options = {
            "response_format": schema("choice", {"better": {"type": "integer", "enum": [1, 2]}}),
            "temperature": 0,
        }
        said = self._choice(uris, question + ONE_OR_TWO, options)
        number = json_of(said.text).get("better")
        return {1: 1.0, 2: 0.0}.get(number, math.nan) if isinstance(number, int) else math.nan

    def _choice(self, uris: Sequence[str], text: str, options: Json) -> Choice:
        parts: list[Json] = [{"type": "image_url", "image_url": {"url": uri}} for uri in uris]
        content = [*parts, {"type": "text", "text": text}]
        return self.wire.ask({"model": self.model, "messages": [{"role": "user", "content": content}], **options})

    def _all(self, jobs: Sequence[Callable[[], _T]], forms: int = len(FORMS)) -> list[_T]:
        """The values of all jobs, each of which may ask in so many forms."""
        try:
            return side_by_side(jobs, self.at_once, self.wire.timeout * forms + _GRACE)
        except TimeoutError as error:  # a server that sends a byte a second: the client's own clock never ends it
            self.wire.hang_up()
            raise self.wire.late() from error

    def _useless(self, error: Exception) -> ExternalError:
        if isinstance(error, ExternalError):
            return ExternalError(str(error), retry_after=error.retry_after)
        if isinstance(error, NoGrade):
            return ExternalError(
                f"{self.title} tells no probabilities, and no grade from 0 to 10 but {clean(str(error), 40)!r}, so it "
                "cannot be the critic. Serve it so that it tells logprobs, or name another model."
            )
        return ExternalError(
            f"{self.title} answers neither yes nor no but begins with {clean(str(error), 40)!r}, so it cannot be the "
            "critic. Serve it without thinking, or name another model."
        )


def _data_uri(image: Image.Image) -> str:
    """The image as a PNG inside a URI; in RGB, and no larger than `LARGEST_SIDE`."""
    rgb = image.convert("RGB")
    if max(rgb.size) > LARGEST_SIDE:
        rgb.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
    held = io.BytesIO()
    rgb.save(held, format="PNG")
    return "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()
