"""AUTOMATIC1111's web UI, Forge, SD.Next, and all who write ``parameters`` as they do (Civitai, Fooocus, ourselves)."""

from __future__ import annotations

import re

from . import civitai
from .image_text import ImageTexts
from .prompt_tags import without_tags
from .reader import reader
from .recipe import MAX_EXPERTS, ExpertKind, ForeignBase, ForeignExpert, ForeignRecipe, extras_of, weight
from .settings_text import pairs
from .values import fold, hashes, integer, name, number, text

_NEGATIVE = "Negative prompt:"
_STEPS = re.compile(r"\bSteps: ?\d")
_PAIR = re.compile(r"(?:^|, ?)[A-Z][\w ]{1,30}: ")
_SIZE = re.compile(r"(\d{1,6}) ?[x×] ?(\d{1,6})")
_NETWORK = re.compile(r"(.{1,200})\(([0-9a-fA-F]{8,64})\)")
_READ = frozenset(
    {
        "Steps", "Sampler", "Schedule type", "Scheduler", "CFG scale", "Distilled CFG Scale", "Seed", "Size", "Model",
        "Model hash", "Clip skip", "Lora hashes", "Lora weights", "TI hashes", "Hashes", "Civitai resources",
        "VAE", "VAE hash", "Version", "App", "User", "Created Date", "Backend", "Parser", "Plan", "Raw prompt",
        "Raw negative prompt",
    }
)  # fmt: skip
"""Fields that are read, or that do not shape the image."""
_HASH_KINDS: dict[str, ExpertKind] = {"lora": "lora", "embed": "textual_inversion", "hypernet": "hypernetwork"}


@reader("a1111", title="A1111 and Forge", order=90)
def read(texts: ImageTexts) -> ForeignRecipe | None:
    """The recipe in ``parameters`` (or in a comment), where it is such a text."""
    for key in ("parameters", "comment", "Description"):
        if texts[key] and not texts[key].lstrip().startswith("{") and (found := recipe_of(texts[key])) is not None:
            return found
    return None


def recipe_of(written: str, tool: str = "") -> ForeignRecipe | None:
    """The recipe in a text of this kind; None if it has no line of settings.

    Args:
        written: prompt, ``Negative prompt:`` and its text, one line of settings that begins with ``Steps:``.
        tool: who wrote it; told from the text by default.
    """
    prompt, negative, line = _parts(written)
    if not line:
        return None
    said = pairs(line)
    bare, tagged = without_tags(text(prompt))
    base, experts = _named(said, tagged)
    width, height = _size(said.get("Size"))
    tool = tool or _tool(said)
    return ForeignRecipe(
        tool=tool,
        tool_version=name(said.get("Version")).removeprefix(tool).strip(),
        prompt=bare,
        negative_prompt=text(negative),
        seed=integer(said.get("Seed")),
        steps=integer(said.get("Steps")),
        guidance=number(said.get("CFG scale")),
        distilled_guidance=number(said.get("Distilled CFG Scale")),
        sampler=name(said.get("Sampler")),
        scheduler=name(said.get("Schedule type") or said.get("Scheduler")),
        width=width,
        height=height,
        clip_skip=integer(said.get("Clip skip")),
        base=base,
        vae=_vae(said),
        experts=experts,
        extras=extras_of({key: value for key, value in said.items() if not key.startswith("AddNet")}, _READ),
    )


def _parts(written: str) -> tuple[str, str, str]:
    """(prompt, negative prompt, settings); no settings if it is no such text."""
    lines = written.replace("\r\n", "\n").split("\n")
    starts = [at for at, line in enumerate(lines) if line.lstrip().startswith("Steps:")]
    if starts:
        at = starts[-1]
        above, line = lines[:at], " , ".join(lines[at:])
    else:
        # Some programs write everything in one line, or let other fields go before the steps.
        above, line = lines[:-1], lines[-1]
        found = _STEPS.search(line)
        if found is None and sum(1 for _ in zip(_PAIR.finditer(line), range(3), strict=False)) < 3:
            return "", "", ""
        if found is not None and (head := line[: found.start()]).strip() and not _PAIR.match(head):
            above, line = [*above, head], line[found.start() :]
    whole = "\n".join(above)
    if whole.startswith(_NEGATIVE):
        return "", whole[len(_NEGATIVE) :].strip(), line
    mark = whole.find(f"\n{_NEGATIVE}")
    if mark < 0 and not starts:
        mark = whole.find(_NEGATIVE) - 1
    if mark < 0:
        return whole.strip(), "", line
    return whole[: mark + 1].strip(), whole[mark + 1 + len(_NEGATIVE) :].strip(), line


def _tool(said: dict[str, object]) -> str:
    """Which of the programs that write so: by what its version looks like."""
    shown = f"{name(said.get('Version'))} {name(said.get('App'))}".lower()
    for mark, tool in (
        ("comfyui", "ComfyUI"),
        ("diffgraph", "DiffGraph"),
        ("fooocus", "Fooocus"),
        ("sdnext", "SD.Next"),
    ):
        if mark in shown:
            return tool
    if re.match(r"f\d|neo|classic", shown) or "forge" in shown:
        return "Forge"
    return "Civitai" if "Civitai resources" in said and "Version" not in said else "A1111"


def _vae(said: dict[str, object]) -> ForeignBase:
    """The VAE that is named; none where the program chose, or took the base's own."""
    called = name(said.get("VAE"))
    if called.lower() in ("", "automatic", "none", "baked vae", "baked in vae"):
        return ForeignBase()
    return ForeignBase(name=called, hashes=hashes(said.get("VAE hash")))


def _size(value: object) -> tuple[int | None, int | None]:
    found = _SIZE.fullmatch(name(value))
    return (int(found[1]), int(found[2])) if found else (None, None)


def _named(said: dict[str, object], tagged: tuple[ForeignExpert, ...]) -> tuple[ForeignBase, tuple[ForeignExpert, ...]]:
    """The base, and the experts of tags, hash lists and resource lists, each once with all that is said of it."""
    sums = _sums(said)
    weights = {fold(key): weight(value) for key, value in _listed(said.get("Lora weights")).items()}
    experts = [
        one.model_copy(update={"hashes": one.hashes + sums.pop((one.kind, fold(one.name)), ("", ()))[1]})
        for one in (*tagged, *_additional(said))
    ]
    has_tags = any(one.kind == "lora" for one in experts)
    for (kind, folded), (called, digests) in sums.items():
        if kind != "lora" or not has_tags or folded in weights:
            experts.append(ForeignExpert(name=called, kind=kind, hashes=digests, weight=weights.get(folded)))
    listed_base, listed = civitai.resources(said.get("Civitai resources"))
    has_loras = any(one.kind == "lora" for one in experts)
    known = {fold(one.name): at for at, one in enumerate(experts)}
    for one in listed:
        at = known.get(fold(one.name))
        if at is not None:
            experts[at] = experts[at].model_copy(update={"where": one.where, "hashes": experts[at].hashes + one.hashes})
        elif one.kind != "lora" or not has_loras:
            experts.append(one)
    base = ForeignBase(
        name=name(said.get("Model")) or listed_base.name,
        hashes=hashes(said.get("Model hash"), *_tree(said.get("Hashes"), "model").values()) or listed_base.hashes,
        where=listed_base.where,
    )
    return base, tuple(experts[:MAX_EXPERTS])


_Sums = dict[tuple[ExpertKind, str], tuple[str, tuple[str, ...]]]


def _sums(said: dict[str, object]) -> _Sums:
    """(kind, folded name) -> (name, hashes), from the three ways in which programs list them."""
    out: _Sums = {}
    lists: list[tuple[ExpertKind, dict[str, object]]] = [
        ("lora", _listed(said.get("Lora hashes"))),
        ("textual_inversion", _listed(said.get("TI hashes"))),
        *((kind, _tree(said.get("Hashes"), prefix)) for prefix, kind in _HASH_KINDS.items()),
    ]
    for kind, listed in lists:
        for called, digest in listed.items():
            before = out.get((kind, fold(called)), (name(called), ()))
            out[kind, fold(called)] = (before[0], tuple(dict.fromkeys(before[1] + hashes(digest))))
    return out


def _listed(value: object) -> dict[str, object]:
    """``name: value, name: value`` as a mapping. A name may hold a colon, a value never does."""
    out: dict[str, object] = {}
    for part in text(value).split(",")[:MAX_EXPERTS]:
        called, colon, said = part.rpartition(":")
        if colon and called.strip():
            out[called.strip()] = said.strip()
    return out


def _tree(value: object, prefix: str) -> dict[str, object]:
    """The entries ``prefix:name`` of a JSON object of hashes (``prefix`` alone for the base), without the prefix."""
    entries = list(value.items())[:MAX_EXPERTS] if isinstance(value, dict) else []
    split = [(key.partition(":"), digest) for key, digest in entries if isinstance(key, str)]
    return {rest or head: digest for (head, _, rest), digest in split if head.strip().lower() == prefix}


def _additional(said: dict[str, object]) -> list[ForeignExpert]:
    """The LoRAs of the extension Additional Networks: numbered fields, weight A is the denoiser's, B the encoders'."""
    out = []
    for at in range(1, 10):
        found = _NETWORK.fullmatch(name(said.get(f"AddNet Model {at}")))
        if found:
            unet, clip = (weight(said.get(f"AddNet Weight {which} {at}")) for which in "AB")
            clip = None if clip == unet else clip
            out.append(ForeignExpert(name=found[1], hashes=hashes(found[2]), weight=unet, clip_weight=clip))
    return out
