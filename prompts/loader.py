"""Prompts as files: one ``.md`` a prompt, with front matter ``id``, ``version``, ``inputs``; strict in both directions.

A placeholder is written ``{{ name }}``. What is put in is never looked at again, so a value cannot smuggle in a
placeholder, and whatever strangers wrote goes through :func:`data`, which no text can break out of.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from ..plugins import closest

FOLDER = Path(__file__).parent
_PLACEHOLDER = re.compile(r"\{\{\s*([a-z_][a-z0-9_]*)\s*\}\}")
_FRONT = re.compile(r"\A---\n(.*?)\n---\n(.*)\Z", re.DOTALL)
_BLOCK = r'<data name="{name}">\n(.*?)\n</data>'


@dataclass(frozen=True)
class Prompt:
    """One prompt file, parsed and checked."""

    id: str
    version: int
    inputs: tuple[str, ...]
    body: str

    def fill(self, **inputs: str) -> str:
        """The prompt's text. Raises ValueError unless exactly the declared inputs are given, all of them strings."""
        missing, extra = sorted(set(self.inputs) - set(inputs)), sorted(set(inputs) - set(self.inputs))
        if missing or extra:
            raise ValueError(f"prompt {self.id!r}: missing inputs {missing}, unknown inputs {extra}")
        wrong = sorted(name for name, value in inputs.items() if not isinstance(value, str))
        if wrong:
            raise ValueError(f"prompt {self.id!r}: inputs {wrong} are not strings")
        return _PLACEHOLDER.sub(lambda found: inputs[found[1]], self.body)


def ids(folder: Path = FOLDER) -> list[str]:
    """The ids of all prompts, sorted."""
    return sorted(path.stem for path in folder.glob("*.md"))


@cache
def read(prompt_id: str, folder: Path = FOLDER) -> Prompt:
    """Parse and check a prompt file.

    Raises:
        ValueError: unknown id (with the closest known ones), a malformed front matter, an input that the text does
            not use or a placeholder that is not declared.
    """
    if prompt_id not in ids(folder):
        near = closest(prompt_id, ids(folder)) or ids(folder)
        raise ValueError(f"there is no prompt {prompt_id!r}; known: {', '.join(near)}")
    found = _FRONT.match((folder / f"{prompt_id}.md").read_text(encoding="utf-8"))
    if not found:
        raise ValueError(f"prompt {prompt_id!r} has no front matter")
    front = yaml.safe_load(found[1])
    if not isinstance(front, dict) or set(front) != {"id", "version", "inputs"}:
        raise ValueError(f"prompt {prompt_id!r}: the front matter holds id, version and inputs, nothing else")
    inputs = front["inputs"] or []
    if front["id"] != prompt_id or not isinstance(front["version"], int):
        raise ValueError(f"prompt {prompt_id!r}: its id is its file name, its version a whole number")
    if not isinstance(inputs, list) or not all(isinstance(i, str) for i in inputs) or len(set(inputs)) != len(inputs):
        raise ValueError(f"prompt {prompt_id!r}: inputs is a list of different names")
    used = set(_PLACEHOLDER.findall(found[2]))
    if used != set(inputs):
        raise ValueError(f"prompt {prompt_id!r}: declares {sorted(inputs)} but uses {sorted(used)}")
    return Prompt(prompt_id, front["version"], tuple(inputs), found[2].strip())


def load(prompt_id: str, **inputs: str) -> str:
    """The text of a prompt with its inputs filled in; see :func:`read` and :meth:`Prompt.fill` for what is refused."""
    return read(prompt_id).fill(**inputs)


def data(name: str, value: object) -> str:
    """A delimited block of JSON for a model to read as data.

    Angle brackets and ampersands are written as ``\\u003c`` and so on, so no string inside can end the block or
    start another.
    """
    if not re.fullmatch(r"[a-z_]+", name):
        raise ValueError(f"{name!r} is no name for a data block")
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    for sign, code in (
        ("<", "\\u003c"),
        (">", "\\u003e"),
        ("&", "\\u0026"),
        ("\u2028", "\\u2028"),
        ("\u2029", "\\u2029"),
    ):
        text = text.replace(sign, code)
    return f'<data name="{name}">\n{text}\n</data>'


def read_data(name: str, text: str) -> object | None:
    """The last block called ``name`` in a text that :func:`data` wrote, or None."""
    found = re.findall(_BLOCK.format(name=re.escape(name)), text, re.DOTALL)
    return json.loads(found[-1]) if found else None
