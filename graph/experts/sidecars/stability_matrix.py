"""``NAME.cm-info.json`` of Stability Matrix: Civitai's version under names of its own."""

from __future__ import annotations

from ..said import USER, Said
from ..words.plain import clean, count, listed, mapping, plain, texts, without_markup
from ..words.triggers import groups, in_text
from ..words.weights import recommended
from . import Document, sidecar

_TRUST = USER - 15


@sidecar("stability_matrix", ".cm-info.json")
def read(found: Document) -> Said | None:
    """A document with its fields, which begin with capitals."""
    data = found.data
    if not {"ModelId", "ModelName", "TrainedWords", "VersionId"}.intersection(data):
        return None
    description = " ".join(
        part
        for part in (plain(data.get("ModelDescription"), 1_200), plain(data.get("VersionDescription"), 700))
        if part
    )
    advised = recommended(description)
    hashes, stats = mapping(data.get("Hashes")), mapping(data.get("Stats"))
    model, version = count(data.get("ModelId")), count(data.get("VersionId"))
    return Said(
        by=found.name,
        trust=_TRUST,
        title=clean(data.get("UserTitle"), 120) or clean(data.get("ModelName"), 120),
        description=description,
        triggers=groups(listed(data.get("TrainedWords"))) or in_text(without_markup(data.get("ModelDescription"))),
        tags=texts(data.get("Tags")),
        weight=advised.weight if advised else None,
        weight_min=advised.low if advised else None,
        weight_max=advised.high if advised else None,
        popularity=count(stats.get("DownloadCount") or stats.get("downloadCount")),
        base_model=clean(data.get("BaseModel"), 60),
        nsfw=data["Nsfw"] if isinstance(data.get("Nsfw"), bool) else None,
        origin=f"civitai:{model}@{version}" if model and version else "",
        sha256=clean(hashes.get("SHA256"), 64).casefold(),
        autov3=clean(hashes.get("AutoV3"), 64).casefold()[:12],
    )
