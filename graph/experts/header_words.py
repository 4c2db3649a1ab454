"""What a safetensors header says of its own file: ``modelspec.…`` (title, trigger, hash) and the trainer's ``ss_…``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ...files.header import Header
from .said import SPEC, TRAINER, Said, most_counted
from .words.licences import one_licence
from .words.plain import MAX_TEXT, clean, is_nothing, number, plain, texts
from .words.triggers import GENERIC, Groups, groups, in_text
from .words.weights import recommended

MAX_TAG_JSON = 8 * 2**20
MAX_TAGS = 50_000
CAPTION = 16
"""From this average length on, what stands in a list of tags are captions, as A1111 takes it."""
_REPEATS = re.compile(r"^\d{1,4}_")
_BASES = ("ss_base_model_version", "ss_sd_model_name")


def words_of(header: Header) -> list[Said]:
    """What the header says, one witness for each convention that it follows."""
    meta = header.metadata
    spec = {name.removeprefix("modelspec."): text for name, text in meta.items() if name.startswith("modelspec.")}
    found = [of_modelspec(spec, by="the header's modelspec", trust=SPEC), of_trainer(meta)]
    return [one for one in found if one is not None]


def of_modelspec(fields: Mapping[str, str], *, by: str, trust: int) -> Said | None:
    """ModelSpec 1.0.1 and SwarmUI's additions (https://github.com/Stability-AI/ModelSpec)."""
    known = ("title", "description", "trigger_phrase", "usage_hint", "tags", "license", "architecture", "hash_sha256")
    if not {*known, "lora_default_weight"}.intersection(fields):
        return None
    hint = plain(fields.get("usage_hint"), 600)
    about = plain(fields.get("description"), 1_200)
    advised = recommended(hint) or recommended(about)
    weight = number(fields.get("lora_default_weight")) or (advised.weight if advised else None)
    title = plain(fields.get("title"), 120)
    return Said(
        by=by,
        trust=trust,
        title="" if is_nothing(title) else title,
        description=" ".join(part for part in (about, hint) if part and not is_nothing(part)),
        triggers=groups([fields.get("trigger_phrase")]) or in_text(hint),
        tags=texts(str(fields.get("tags") or "").split(",")[:256]),
        weight=weight if weight and abs(weight) <= 20 else None,
        weight_min=advised.low if advised else None,
        weight_max=advised.high if advised else None,
        base_model=_architecture(fields.get("architecture")),
        licence="" if (said := one_licence(fields.get("license"))) == "unknown" else said,
        created=clean(fields.get("date"), 10),
        autov3=clean(fields.get("hash_sha256"), 80).casefold().removeprefix("0x")[:12],
    )


def of_trainer(meta: Mapping[str, str]) -> Said | None:
    """kohya's sd-scripts and what is made after it."""
    if not any(name.startswith("ss_") for name in meta):
        return None
    folders = _tag_folders(meta.get("ss_tag_frequency", ""))
    counts: dict[str, int] = {}
    for tags in folders.values():
        for tag, times in tags.items():
            counts[tag] = counts.get(tag, 0) + times
    captions = bool(counts) and sum(map(len, counts)) / len(counts) >= CAPTION
    name = clean(meta.get("ss_output_name"), 200)
    comment = plain(meta.get("ss_training_comment"), 600)
    base = next((clean(meta.get(key), 120) for key in _BASES if not is_nothing(clean(meta.get(key), 120))), "")
    return Said(
        by="the trainer's notes in the header",
        trust=TRAINER,
        description="" if is_nothing(comment) else comment,
        triggers=in_text(comment) or _folder_names(folders, counts, captions=captions),
        tag_counts=() if captions else most_counted(counts),
        examples=tuple(tag for tag, _ in most_counted(counts)[:4] if len(tag) >= CAPTION) if captions else (),
        file_names=() if is_nothing(name) else (name,),
        base_model=base,
    )


def _tag_folders(text: str) -> dict[str, dict[str, int]]:
    """Training folder -> tag -> how often; {} if the field is not that."""
    if not text or len(text) > MAX_TAG_JSON:
        return {}
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    out: dict[str, dict[str, int]] = {}
    left = MAX_TAGS
    for folder, tags in list(found.items())[:256] if isinstance(found, dict) else []:
        if isinstance(tags, dict):
            kept = list(tags.items())[:left]
            left -= len(kept)
            cleaned = ((clean(tag, 300), times) for tag, times in kept)
            out[clean(folder, 200)] = {t: n for t, n in cleaned if t and isinstance(n, int) and 0 < n < 2**31}
    return out


def _folder_names(folders: Mapping[str, Mapping[str, int]], counts: Mapping[str, int], *, captions: bool) -> Groups:
    """The concept in the names of training folders (``10_ohwx man``), where the pictures' own tags bear it out.

    A folder's name is what pictures without a caption are called; with captions it is often any name.
    """
    found: list[str] = []
    most = max(counts.values(), default=0)
    for folder in folders:
        if not _REPEATS.match(folder):
            continue
        concept = _REPEATS.sub("", folder).replace("_", " ").strip()
        spellings = {concept.casefold(), concept.casefold().replace(" ", "_"), concept.split(" ")[0].casefold()}
        seen = [tag for tag, times in counts.items() if times >= 0.5 * most and tag.casefold() in spellings]
        if seen:
            found += [tag for tag in seen if tag.casefold() not in GENERIC][:1]
        elif not counts or (captions and len(concept.split()) <= 3):
            found.append(concept[:MAX_TEXT])
    return groups(dict.fromkeys(one for one in found if len(one) > 1))


def _architecture(value: object) -> str:
    """``stable-diffusion-xl-v1-base/lora`` without what comes behind."""
    text = clean(value, 120).partition("/")[0]
    return "" if is_nothing(text) else text
