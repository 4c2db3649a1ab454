"""SwarmUI: JSON with ``sui_image_params``, in ``parameters`` or in EXIF."""

from __future__ import annotations

from .image_text import ImageTexts
from .prompt_tags import without_tags
from .reader import reader
from .recipe import MAX_EXPERTS, ForeignBase, ForeignExpert, ForeignRecipe, extras_of, weight
from .values import fold, hashes, integer, name, number, stem, text

_READ = frozenset(
    {
        "prompt", "negativeprompt", "model", "seed", "steps", "cfgscale", "fluxguidancescale", "width", "height",
        "aspectratio", "sampler", "comfyuisampler", "scheduler", "comfyuischeduler", "loras", "loraweights",
        "loratencweights", "swarm_version", "images", "clipstopatlayer", "automaticvae", "personalnote",
    }
)  # fmt: skip


@reader("swarmui", title="SwarmUI", order=20)
def read(texts: ImageTexts) -> ForeignRecipe | None:
    """The recipe in whichever text holds it."""
    for key in ("parameters", "sui_image_params", "comment"):
        document = texts.document(key)
        said = document.get("sui_image_params") if document else None
        if document and isinstance(said, dict):
            return _recipe(said, _sums(document.get("sui_models")))
    return None


def _recipe(said: dict[str, object], sums: dict[str, tuple[str, ...]]) -> ForeignRecipe:
    prompt, tagged = without_tags(text(said.get("prompt")))
    model = name(said.get("model"))
    layer = integer(said.get("clipstopatlayer"))
    experts = _experts(said) or list(tagged)
    return ForeignRecipe(
        tool="SwarmUI",
        tool_version=name(said.get("swarm_version")),
        prompt=prompt,
        negative_prompt=text(said.get("negativeprompt")),
        seed=integer(said.get("seed")),
        steps=integer(said.get("steps")),
        guidance=number(said.get("cfgscale")),
        distilled_guidance=number(said.get("fluxguidancescale")),
        sampler=name(said.get("sampler") or said.get("comfyuisampler")),
        scheduler=name(said.get("scheduler") or said.get("comfyuischeduler")),
        width=integer(said.get("width")),
        height=integer(said.get("height")),
        clip_skip=-layer if layer is not None and layer < 0 else None,
        base=ForeignBase(name=stem(model), hashes=sums.get(fold(model), ())),
        experts=tuple(one.model_copy(update={"hashes": sums.get(fold(one.name), ())}) for one in experts),
        extras=extras_of(said, _READ),
    )


def _experts(said: dict[str, object]) -> list[ForeignExpert]:
    names, weights, encoders = (_listed(said.get(key)) for key in ("loras", "loraweights", "loratencweights"))
    out = []
    for at, called in enumerate(names):
        strength = weight(weights[at]) if at < len(weights) else 1.0
        clip = weight(encoders[at]) if at < len(encoders) else None
        clip = None if clip == strength else clip
        if name(called):
            out.append(ForeignExpert(name=name(called), weight=strength, clip_weight=clip))
    return out


def _listed(value: object) -> list[object]:
    """A list, or a text with commas: versions differ."""
    if isinstance(value, list):
        return value[:MAX_EXPERTS]
    return [*text(value).split(",")[:MAX_EXPERTS]] if value else []


def _sums(models: object) -> dict[str, tuple[str, ...]]:
    """Folded name -> hashes, of ``sui_models``."""
    listed = models[:MAX_EXPERTS] if isinstance(models, list) else []
    return {fold(name(one.get("name"))): hashes(one.get("hash")) for one in listed if isinstance(one, dict)}
