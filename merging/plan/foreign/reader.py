"""The programs whose recipes are understood, each a plug-in, and `read_recipe`, which asks them in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

from ....errors import UserError
from ....plugins import Registry
from .image_text import ImageTexts, read_texts
from .recipe import ForeignRecipe, completed
from .values import name

Read = Callable[[ImageTexts], ForeignRecipe | None]
"""Gives the recipe that a program left in an image's texts; None if it left none. Raises nothing, whatever they say."""
MAX_NOTES = 40


@dataclass(frozen=True)
class RecipeReader:
    """One program's way to write recipes.

    Attributes:
        title: the program, as people call it.
        order: the smaller, the more it knows of what really ran; where an image carries several recipes, the first
            reader's is taken, and the others complete it.
        read: see `Read`.
    """

    title: str
    order: int
    read: Read


_READERS: Registry[RecipeReader] = Registry("image recipe", "diffgraph.image_recipes", __package__)


def reader(key: str, *, title: str, order: int) -> Callable[[Read], Read]:
    """Register a function that reads a program's recipes."""

    def register(read: Read) -> Read:
        _READERS.add(key, RecipeReader(title, order, read))
        return read

    return register


def readers() -> list[RecipeReader]:
    """All of them, in their order."""
    return sorted(_READERS.items().values(), key=lambda one: (one.order, one.title))


def recipe_in(texts: ImageTexts) -> ForeignRecipe | None:
    """The recipe that an image's texts hold, put together from all of them that say one; None if there is none."""
    found = [recipe for one in readers() if (recipe := one.read(texts)) is not None]
    if not found:
        return None
    if found[0].plan is not None:
        found = found[:1]  # an image of ours says all in its plan; its other texts name the same experts by files
    whole = reduce(completed, found)
    odd = tuple(
        f"the text {name(key)[:40]!r} is not the JSON that it seems to be: passed over"
        for key in texts.texts
        if texts[key].lstrip().startswith("{") and texts.document(key) is None
    )
    return whole.model_copy(update={"notes": tuple(dict.fromkeys(texts.notes + odd + whole.notes))[:MAX_NOTES]})


def read_recipe(path: Path) -> ForeignRecipe:
    """The recipe in an image.

    Raises:
        UserError: no image that can be read, or no recipe in it that any reader understands.
    """
    texts = read_texts(path)
    found = recipe_in(texts)
    if found is not None:
        return found
    understood = ", ".join(one.title for one in readers())
    held = ", ".join(name(key)[:40] for key in list(texts.texts)[:8])
    if "workflow" in texts.texts and "prompt" not in texts.texts:
        why = "It holds only the editor's workflow of ComfyUI, not what ran"
    elif held:
        why = f"It holds texts ({held}), but none that is a recipe of {understood}"
    else:
        why = f"It holds no text at all; programs that re-save an image leave it out. Understood: {understood}"
    notes = "".join(f" ({note})" for note in texts.notes[:4])
    raise UserError(f"{path} says nothing of how it was made. {why}.{notes}")
