"""Registration: what is said of a file + its header -> node. Needs no weights in memory and no GPU."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from ...bases.architecture import UNKNOWN, family_of_header, family_of_model_id, family_of_words
from ...bases.ecosystem import Evidence, ecosystem_of
from ...errors import ExpertError
from ...files.header import Header, is_safetensors
from ...merging.formats.detect import KindAndRank, kind_and_rank
from ..embedding import default_embedder
from . import sources
from .card import Card, clean, parse_card, said_by
from .expert import MAX_DESCRIPTION, Expert, Skill, SourceRef
from .guesses import family_by_embedding, family_by_trainer, token_of
from .header_words import words_of
from .outsiders import outsider
from .said import NAME, Said, together
from .skills import made_skills, short_title
from .sources import RepoFile, RepoInfo, Source, Speaking
from .words.facet_by_meaning import learnt_facet
from .words.facets import named_facets
from .words.triggers import flat

_PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
_DENOISERS = ("unet", "transformer")
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.safetensors$", re.I)
_NSFW_TAGS = frozenset(("nsfw", "hentai", "porn", "explicit", "18+", "rating:explicit", "uncensored", "nudity"))
_STEPS = re.compile(r"[-_. ]?(?:checkpoint|epoch|step|e|s|v)?s?[-_. ]?\d{1,8}$", re.I)
_NO_NAMES = frozenset((
    "pytorch_lora_weights", "adapter_model", "diffusion_pytorch_model", "model", "lora", "weights", "pytorch_model",
    "learned_embeds", "last", "final", "output",
))  # fmt: skip
"""Names that programs give to every file: they say nothing."""
_SHOWN = 300
"""Characters of a reason: names inside files have no bound of their own."""


@dataclass(frozen=True)
class Weights:
    """One weight file, as its source has it."""

    ref: SourceRef
    header: Header
    sha256: str
    size: int
    payload_sha256: str = ""


@dataclass
class Registered:
    """What a repository came to: its experts, and its files that are none, each with the reason."""

    experts: list[Expert] = field(default_factory=list)
    refused: list[tuple[str, ExpertError]] = field(default_factory=list)


def register(source: Source | str, repo: str) -> list[Expert]:
    """Experts of one repository: one per adapter file, or one for a diffusers folder with a denoiser.

    Args:
        source: a source, or the name of one that needs no options (``world``, ``huggingface``).
        repo: the repository's name within the source.

    Raises:
        ExpertError: nothing in it is an expert (only pickles, a sharded or damaged file), or its card cannot be read.
        UserError: no such repository, or it is gated.
        ExternalError: the source cannot be reached.
    """
    found = sources.get(source) if isinstance(source, str) else source
    info = found.info(repo)
    done = register_files(found, info, parse_card(found.card(repo), repo))
    if not done.experts:
        raise done.refused[0][1]
    return done.experts


def register_files(source: Source, info: RepoInfo, card: Card) -> Registered:
    """Every file of a repository that is an expert; one odd file is told and passed over.

    Raises:
        ExpertError: it has no file that could be one.
        ExternalError: the source cannot be reached.
    """
    done = Registered()
    sound: list[tuple[RepoFile, Weights]] = []
    for file in weight_files(info):
        if is_shard(file.path):
            done.refused.append((file.path, ExpertError(in_pieces(file.path), path=file.path)))
            continue
        ref = SourceRef(source=source.name, repo=info.repo, revision=info.revision, file=file.path)
        try:
            header = source.header(ref)
            weights = Weights(ref, header, source.sha256(ref), header.size_bytes)
            _kind_and_rank(weights.header, card, file.path)
            sound.append((file, weights))
        except ExpertError as error:
            done.refused.append((file.path, error))
    made: list[tuple[RepoFile, Expert]] = []
    alone = len(sound) == 1 or _versions_of_one([file for file, _ in sound])
    for file, weights in sound:
        own = _card_of_file(card, file, alone=alone)
        try:
            made.append((file, _of_repository(source, info, weights, own, several=len(sound) > 1)))
        except ExpertError as error:
            done.refused.append((file.path, error))
    label = f"{source.name}/{info.label or source.label(info.repo)}"
    several = len(made) > 1
    done.experts = [e.model_copy(update={"id": f"{label}/{_slug(f.path)}" if several else label}) for f, e in made]
    return done


def weight_files(info: RepoInfo) -> list[RepoFile]:
    """The files of a repository that are experts, in order of their paths.

    A diffusers folder (``unet/`` or ``transformer/``) is one expert, its denoiser; otherwise every .safetensors file is
    one: which one is meant is never guessed.

    Raises:
        ExpertError: nothing but pickles, nothing at all, or nothing but sharded weights.
    """
    tensors = sorted((f for f in info.files if is_safetensors(f.path)), key=lambda f: f.path)
    denoiser = [f for f in tensors if PurePosixPath(f.path).parts[0] in _DENOISERS and "/" in f.path]
    chosen = denoiser or tensors
    shards = [f for f in chosen if is_shard(f.path)]
    if shards and (denoiser or len(shards) == len(chosen)):
        raise ExpertError(in_pieces(shards[0].path), path=info.repo)
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


def is_shard(path: str) -> bool:
    """Whether a file is called as one of several that hold weights together."""
    return _SHARD.search(path) is not None


def in_pieces(path: str) -> str:
    """What to do about weights in several files."""
    name = path.rpartition("/")[2]
    return (
        f"its weights lie in several files ({name} is one), and one expert is one file here. To draw with it, add its "
        "folder as a base: diffgraph base add. To merge it, save it in one piece with diffusers: "
        'save_pretrained(FOLDER, max_shard_size="1TB"), and scout that.'
    )


def expert_of(weights: Weights, witnesses: Iterable[Said], *, id: str, title: str, card: Card | None = None) -> Expert:
    """The node of one weight file.

    Args:
        weights: the file.
        witnesses: what is said of it; what its header says is added here.
        id: the node's.
        title: what it is called if nobody says.
        card: its repository's card, if it has one.

    Raises:
        ExpertError: it is no adapter and no denoiser, nothing that any format knows, or for no base that draws.
    """
    header = weights.header
    said = together([*witnesses, *words_of(header), *([said_by(card)] if card else ())])
    kind, rank = _kind_and_rank(header, card or Card(), weights.ref.file)
    family = _family(card, said, header)
    base_model = said.base_model.replace("_", " ")
    if kind not in ("base", "checkpoint") and (why := outsider(header, _known(family), base_model)) is not None:
        raise ExpertError(f"{weights.ref.file} {why}", path=weights.ref.file)
    triggers = said.triggers
    if kind == "textual_inversion":
        family = family if family != UNKNOWN else family_by_embedding(header) or UNKNOWN
        triggers = triggers or ((token_of(header, PurePosixPath(weights.ref.file).stem),),)
    title = (card.title if card else "") or said.title or title
    seen = [tag for tag, _ in said.tag_counts]
    listed = card.skills if card and card.declared else ()
    skills = listed or made_skills(
        title, triggers, tags=said.tags, description=said.description, seen=seen, facet=said.facet
    )
    nsfw = bool(said.nsfw) or any(tag.casefold() in _NSFW_TAGS for tag in said.tags)
    text = skill_text(title, card.summary, skills) if card else skill_text(title, ", ".join(said.tags[:6]), skills)
    if skills and not listed and said.facet is None and not named_facets(said.tags):
        words = flat(triggers)
        facet = learnt_facet(text, title, said.tags, words, said.description, default_embedder())
        skills = made_skills(title, triggers, tags=said.tags, description=said.description, seen=seen, facet=facet)
    return Expert(
        id=id,
        title=title,
        ref=weights.ref,
        sha256=weights.sha256,
        base_family=family,
        kind=kind,
        rank=rank,
        size_bytes=weights.size,
        licence=said.licence or "unknown",
        created=said.created,
        samples=said.samples,
        tags=said.tags,
        skills=skills,
        text=text,
        description=clean(said.description, MAX_DESCRIPTION),
        file_names=said.file_names,
        triggers=triggers,
        tag_counts=said.tag_counts,
        weight=said.weight,
        clip_weight=said.clip_weight,
        weight_min=said.weight_min,
        weight_max=said.weight_max,
        negative=said.negative,
        examples=said.examples,
        popularity=said.popularity,
        base_model=clean(said.base_model, 120),
        ecosystem=_ecosystem(family, said.base_model, header) if kind != "base" else "",
        nsfw=nsfw,
        off=nsfw or bool(said.off),
        payload_sha256=weights.payload_sha256,
        origin=said.origin,
        preview=said.preview,
        warnings=(*said.warnings, *_other_hash(said, weights))[:8],
    )


def name_of(path: str) -> Said:
    """A file's own name as the least trusted witness; one that a program gives to every file says nothing."""
    stem = clean(PurePosixPath(path).stem, 200)
    return Said(by="the file's name", trust=NAME, file_names=() if stem.casefold() in _NO_NAMES else (stem,))


def title_of(path: str) -> str:
    """What to call a file that nobody gives a title: after itself, or after its folder."""
    whole = PurePosixPath(path)
    parents = [part for part in reversed(whole.parent.parts) if part not in _DENOISERS]
    stem = whole.stem if whole.stem.casefold() not in _NO_NAMES else (parents or [whole.stem])[0]
    return short_title(stem)


def reason(error: Exception) -> str:
    """Why something was refused, as one bounded line."""
    return clean(str(error), _SHOWN)


def _of_repository(source: Source, info: RepoInfo, weights: Weights, card: Card, *, several: bool) -> Expert:
    label = clean(info.label or source.label(info.repo))
    page = source.said(info) if isinstance(source, Speaking) else None
    title = title_of(weights.ref.file) if several and not card.title else label
    dated = card if card.created or not info.created else replace(card, created=info.created)
    witnesses = [*([page] if page is not None else ()), name_of(weights.ref.file)]
    expert = expert_of(weights, witnesses, id=label, title=title or label, card=dated)
    family = expert.base_family
    if expert.kind == "base" and family == UNKNOWN:
        family = family_of_model_id(info.repo)
    return expert.model_copy(update={"base_family": family})


def _card_of_file(card: Card, file: RepoFile, *, alone: bool) -> Card:
    """What a card that is shared by several files says of one: all, if it is alone or they are steps of one training.

    Otherwise a list of skills is narrowed to those that name the file, and a trigger is only for a file that has it in
    its name; the file's own header and name say the rest.
    """
    if alone:
        return card
    if card.declared:
        return replace(card, skills=_skills_of_file(card, file))
    stem = _letters(PurePosixPath(file.path).stem)
    named = tuple(group for group in card.triggers if any(_letters(word) in stem for word in group))
    return replace(card, title="", triggers=named, instance_prompt="", skills=(), widgets=())


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", text.casefold())


def _versions_of_one(files: Sequence[RepoFile]) -> bool:
    """Whether files are steps of one training: ``fox-000010``, ``fox-000020``, ``fox``."""
    stems = {_STEPS.sub("", PurePosixPath(file.path).stem.casefold()) for file in files}
    return len(stems) == 1


def _slug(path: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", PurePosixPath(path).with_suffix("").as_posix())


def family_of(card: Card, header: Header) -> str:
    """The tensors' word goes before the card's: cards are sometimes mislabelled, shapes are not."""
    shown = family_of_header(header, card.base_models[0] if card.base_models else "")
    if shown:
        return shown
    return family_of_model_id(card.base_models[0]) if card.base_models else UNKNOWN


def _family(card: Card | None, said: Said, header: Header) -> str:
    """The family of a file; the base that a page or a program names decides only where the tensors leave it open."""
    if card is not None and card.base_models:
        return family_of(card, header)
    words = said.base_model.replace(" ", "-")
    shown = family_of_header(header, words) or family_of_words(words)
    return shown or family_by_trainer(header) or UNKNOWN


_BASES_NAMED = ("ss_sd_model_name", "ss_base_model_version", "modelspec.architecture", "modelspec.merged_from")


def _ecosystem(family: str, base_model: str, header: Header) -> str:
    """What it works well with, told by the bases that its page and its trainer name, never by its own name."""
    named = {key: header.metadata[key] for key in _BASES_NAMED if key in header.metadata}
    return ecosystem_of(Evidence(family, names=(base_model,) if base_model else (), metadata=named)).name


def _known(family: str) -> str:
    return "" if family == UNKNOWN else family


def _other_hash(said: Said, weights: Weights) -> tuple[str, ...]:
    """Whether what lies beside the file was written for another one."""
    short = weights.payload_sha256[: len(said.autov3)]
    if not said.sha256 or said.sha256 == weights.sha256 or (said.autov3 and said.autov3 == short):
        return ()
    return ("what lies beside it names another sha256: the file was changed, or is another version",)


def _skills_of_file(card: Card, file: RepoFile) -> tuple[Skill, ...]:
    """Of a card shared by several files, the skills that name this file; all of them if none does."""
    stem = re.sub(r"[^a-z0-9]+", " ", PurePosixPath(file.path).stem.casefold())
    named = tuple(s for s in card.skills if re.sub(r"[^a-z0-9]+", " ", s.name.casefold()) in stem)
    return named or card.skills


def skill_text(title: str, summary: str, skills: tuple[Skill, ...]) -> str:
    """The text that is embedded for the expert as a whole: title, summary, skill names. Never an instruction."""
    listed = ", ".join(s.trigger or s.name for s in skills[:40])
    return clean(". ".join(part for part in (title, summary, listed) if part), 1200)


def _kind_and_rank(header: Header, card: Card, path: str) -> KindAndRank:
    """What the file is, as whoever merges it will see it; a base pipeline is told by its card, which says so.

    Raises:
        ExpertError: no adapter, no denoiser, or nothing that any format knows.
    """
    says_base = any(tag.casefold() == "base" for tag in card.tags) and not card.base_models
    try:
        found = kind_and_rank(header)
    except ExpertError:
        # The denoiser of a base need not be one that can be compared with another base.
        if says_base and PurePosixPath(path).parts[0] in _DENOISERS:
            return KindAndRank("base", None)
        raise
    return KindAndRank("base", found.rank) if says_base and found.kind == "checkpoint" else found
