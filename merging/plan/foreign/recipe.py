"""`ForeignRecipe`: what an image says of how it was made, whichever program made it, as plain data."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from ..merge_plan import MergePlan
from .values import fold, number, text

ExpertKind = Literal["lora", "textual_inversion", "hypernetwork"]
_FILLED = (
    "prompt", "negative_prompt", "seed", "steps", "guidance", "distilled_guidance", "sampler", "scheduler", "width",
    "height", "clip_skip",
)  # fmt: skip
"""The fields that one text of an image may say where another is silent."""
MAX_EXPERTS = 200


class Frozen(BaseModel):
    """Data that nobody changes and that holds nothing unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ForeignExpert(Frozen):
    """One expert that a recipe names.

    Attributes:
        name: as the program wrote it, a file's name as a rule; "" where only a hash or a place is given.
        hashes: lower-case hex, 8 to 64 digits: starts of a sha256, of the file or of its tensors.
        weight: on the denoiser; None where the recipe is silent.
        clip_weight: on the text encoders; None: the same as ``weight``.
        where: where it may be had ("Civitai model version 12345"), or "".
    """

    name: str
    kind: ExpertKind = "lora"
    hashes: tuple[str, ...] = ()
    weight: float | None = None
    clip_weight: float | None = None
    where: str = ""


class ForeignBase(Frozen):
    """The base that a recipe names; fields as in `ForeignExpert`."""

    name: str = ""
    hashes: tuple[str, ...] = ()
    where: str = ""

    @property
    def said(self) -> bool:
        """Whether anything is known of it."""
        return bool(self.name or self.hashes or self.where)


class Extra(Frozen):
    """Something else that a recipe says, under the name that its program gives it ("Hires upscale": "2")."""

    name: str
    value: str


class ForeignRecipe(Frozen):
    """What an image says of how it was made. None and "" mean that it says nothing.

    Attributes:
        tool: the program that wrote it, and ``tool_version`` as it gives it.
        prompt, negative_prompt: without ``<lora:…>`` tags, which are ``experts``; weights in brackets are left.
        guidance: the classifier-free guidance scale; ``distilled_guidance``: the one that FLUX is told.
        sampler, scheduler: the program's own words.
        width, height: pixels of the first pass.
        clip_skip: 1: the text encoder's last layer; 2: the last but one.
        vae: the VAE that decoded it, where that is not the base's own.
        extras: everything else that shapes the image (second pass, control images, …).
        notes: what was odd and passed over.
        plan: the merge plan, where the image is one of ours.
    """

    tool: str
    tool_version: str = ""
    prompt: str = ""
    negative_prompt: str = ""
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
    distilled_guidance: float | None = None
    sampler: str = ""
    scheduler: str = ""
    width: int | None = None
    height: int | None = None
    clip_skip: int | None = None
    base: ForeignBase = ForeignBase()
    vae: ForeignBase = ForeignBase()
    experts: tuple[ForeignExpert, ...] = ()
    extras: tuple[Extra, ...] = ()
    notes: tuple[str, ...] = ()
    plan: MergePlan | None = None


def extra(name: object, value: object) -> Extra:
    """An `Extra` of whatever a stranger wrote; a tree is shown by its name or its size."""
    if isinstance(value, dict):
        named = text(value.get("name") or value.get("model_name"), 200)
        shown = named or f"{len(value)} values"
    elif isinstance(value, list):
        shown = f"{len(value)} entries"
    else:
        shown = text(value, 400)
    return Extra(name=text(name, 80), value=shown)


def extras_of(values: dict[str, object], known: frozenset[str] | set[str]) -> tuple[Extra, ...]:
    """The entries of a program's document that are neither known nor empty, at most 100."""
    kept = ((name, value) for name, value in values.items() if name not in known and not _says_nothing(value))
    return tuple(extra(name, value) for (name, value), _ in zip(kept, range(100), strict=False))


def _says_nothing(value: object) -> bool:
    return value is None or value is False or value in ("", "None", [], {})


def completed(first: ForeignRecipe, other: ForeignRecipe) -> ForeignRecipe:
    """``first``, with what only ``other``, another text of the same image, says: silent fields, hashes, embeddings."""
    said = {name: getattr(other, name) for name in _FILLED if getattr(first, name) in ("", None)}
    base = first.base
    if not base.said or fold(base.name) == fold(other.base.name):
        hashes = tuple(dict.fromkeys(base.hashes + other.base.hashes))
        base = ForeignBase(name=base.name or other.base.name, hashes=hashes, where=base.where or other.base.where)
    experts, unknown = _joined(first.experts, other.experts)
    notes = first.notes + other.notes
    if unknown:
        notes += (f"only the {other.tool} text of the image names {', '.join(unknown)}: passed over",)
    names = {one.name for one in first.extras}
    extras = first.extras + tuple(one for one in other.extras if one.name not in names)
    vae = first.vae if first.vae.said else other.vae
    update = said | {"base": base, "vae": vae, "experts": experts, "notes": notes, "extras": extras}
    return first.model_copy(update={name: value for name, value in update.items() if value not in ("", None)})


def _joined(
    first: tuple[ForeignExpert, ...], other: tuple[ForeignExpert, ...]
) -> tuple[tuple[ForeignExpert, ...], list[str]]:
    """Experts of two texts of one image, and the names that only the second has and that are not believed."""
    known = {fold(one.name): at for at, one in enumerate(first)}
    experts, unknown = list(first), []
    has_loras = any(one.kind == "lora" for one in first)
    for one in other:
        at = known.get(fold(one.name)) if one.name else None
        if at is not None:
            mine = experts[at]
            hashes = tuple(dict.fromkeys(mine.hashes + one.hashes))
            update = {"hashes": hashes, "where": mine.where or one.where}
            experts[at] = mine.model_copy(update=update)
        elif one.kind != "lora" or not has_loras:
            experts.append(one)
        elif not set(one.hashes) & {known_hash for mine in first for known_hash in mine.hashes}:
            unknown.append(one.name or one.where or "an expert without a name")
    return tuple(experts[:MAX_EXPERTS]), unknown[:8]


def weight(value: object) -> float | None:
    """A weight that a person may have meant: a finite number within ±100, else None."""
    found = number(value)
    return found if found is not None and abs(found) <= 100 else None
