"""Registration: card + file header -> node. Needs no weights in memory and no GPU."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from ...bases.architecture import UNKNOWN, family_of_header, family_of_model_id
from ...errors import ExpertError
from ...files.header import Header, is_safetensors
from ...merging.formats.detect import KindAndRank, kind_and_rank
from . import sources
from .card import Card, clean, parse_card
from .expert import Expert, Skill, SourceRef
from .sources import RepoFile, RepoInfo, Source

_PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
_DENOISERS = ("unet", "transformer")
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.safetensors$", re.I)


def register(source: Source | str, repo: str) -> list[Expert]:
    """Experts of one repository: one per adapter file, or one for a diffusers folder with a denoiser.

    Args:
        source: a source, or the name of one that needs no options (``world``, ``huggingface``).
        repo: the repository's name within the source.

    Raises:
        ExpertError: only pickles, a sharded or damaged file, an unreadable card.
        UserError: no such repository, or it is gated.
        ExternalError: the source cannot be reached.
    """
    found = sources.get(source) if isinstance(source, str) else source
    info = found.info(repo)
    card = parse_card(found.card(repo), repo)
    files = weight_files(info)
    return [_expert(found, info, card, file, several=len(files) > 1) for file in files]


def weight_files(info: RepoInfo) -> list[RepoFile]:
    """The files of a repository that are experts, in order of their paths.

    A diffusers folder (``unet/`` or ``transformer/``) is one expert, its denoiser; otherwise every .safetensors file is
    one: which one is meant is never guessed.

    Raises:
        ExpertError: nothing but pickles, nothing at all, or sharded weights.
    """
    tensors = sorted((f for f in info.files if is_safetensors(f.path)), key=lambda f: f.path)
    denoiser = [f for f in tensors if PurePosixPath(f.path).parts[0] in _DENOISERS and "/" in f.path]
    chosen = denoiser or tensors
    sharded = [f.path for f in chosen if _SHARD.search(f.path)]
    if sharded:
        raise ExpertError(
            f"{info.repo} splits its weights over several files ({sharded[0]}, …); one expert is one file here.",
            path=info.repo,
        )
    if denoiser:
        full = [f for f in denoiser if not re.search(r"\.(fp16|bf16|fp32|non_ema|ema)\.safetensors$", f.path, re.I)]
        return (full or denoiser)[:1]
    if chosen:
        return chosen
    pickles = [f.path for f in info.files if f.path.casefold().endswith(_PICKLES)]
    if pickles:
        raise ExpertError(
            f"{info.repo} holds only pickles ({pickles[0]}). They are not opened, because they can run code: "
            "ask its author for a .safetensors file.",
            path=info.repo,
        )
    raise ExpertError(f"{info.repo} holds no .safetensors file.", path=info.repo)


def _expert(source: Source, info: RepoInfo, card: Card, file: RepoFile, *, several: bool) -> Expert:
    ref = SourceRef(source=source.name, repo=info.repo, revision=info.revision, file=file.path)
    header = source.header(ref)
    kind, rank = _kind_and_rank(header, card, file)
    label = f"{source.name}/{source.label(info.repo)}"
    if several:
        label += "/" + re.sub(r"[^A-Za-z0-9._-]+", "-", PurePosixPath(file.path).with_suffix("").as_posix())
    family = family_of(card, header)
    if kind == "base" and family == UNKNOWN:
        family = family_of_model_id(info.repo)
    skills = card.skills if not several else _skills_of_file(card, file)
    title = card.title or clean(source.label(info.repo))
    return Expert(
        id=label,
        title=title,
        ref=ref,
        sha256=source.sha256(ref),
        base_family=family,
        kind=kind,
        rank=rank,
        size_bytes=file.size,
        licence=card.licence,
        created=card.created or info.created,
        samples=len(card.widgets),
        tags=card.tags,
        skills=skills,
        text=skill_text(title, card.summary, skills),
    )


def family_of(card: Card, header: Header) -> str:
    """The tensors' word goes before the card's: cards are sometimes mislabelled, shapes are not."""
    shown = family_of_header(header, card.base_models[0] if card.base_models else "")
    if shown:
        return shown
    return family_of_model_id(card.base_models[0]) if card.base_models else UNKNOWN


def _skills_of_file(card: Card, file: RepoFile) -> tuple[Skill, ...]:
    """Of a card shared by several files, the skills that name this file; all of them if none does."""
    stem = re.sub(r"[^a-z0-9]+", " ", PurePosixPath(file.path).stem.casefold())
    named = tuple(s for s in card.skills if re.sub(r"[^a-z0-9]+", " ", s.name.casefold()) in stem)
    return named or card.skills


def skill_text(title: str, summary: str, skills: tuple[Skill, ...]) -> str:
    """The text that is embedded for the expert as a whole: title, summary, skill names. Never an instruction."""
    listed = ", ".join(s.trigger or s.name for s in skills[:40])
    return clean(". ".join(part for part in (title, summary, listed) if part), 1200)


def _kind_and_rank(header: Header, card: Card, file: RepoFile) -> KindAndRank:
    """What the file is, as whoever merges it will see it; a base pipeline is told by its card, which says so.

    Raises:
        ExpertError: no adapter, no denoiser, or nothing that any format knows.
    """
    says_base = any(tag.casefold() == "base" for tag in card.tags) and not card.base_models
    try:
        found = kind_and_rank(header)
    except ExpertError:
        # The denoiser of a base need not be one that can be compared with another base.
        if says_base and PurePosixPath(file.path).parts[0] in _DENOISERS:
            return KindAndRank("base", None)
        raise
    return KindAndRank("base", found.rank) if says_base and found.kind == "checkpoint" else found
