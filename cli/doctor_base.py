"""What ``diffgraph doctor`` says of the base and of the experts for it, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import DiffGraphError
from ..settings import PREFIX, Settings

if TYPE_CHECKING:
    from ..bases.profile import BaseProfile


@dataclass(frozen=True)
class Check:
    """One finding. ``ok`` is False where something needs doing; ``text`` says what."""

    name: str
    ok: bool
    text: str


def about_base(settings: Settings) -> Iterator[Check]:
    """Which base is in force, whether it can be merged into, how it draws."""
    from ..bases import manifest, registry

    try:
        profile = registry.of_settings(settings)
        checked = manifest.verify(profile.manifest, mend=profile.mend) if profile.manifest else None
    except DiffGraphError as error:
        yield Check("base", False, str(error))
        return
    files = "" if checked is None else f", {checked} files as they should be"
    yield Check("base", True, f"{_known(profile, settings)}{files}")
    yield _weights(profile, settings)
    yield Check("draws", True, _draws(profile, settings))


def _known(profile: BaseProfile, settings: Settings) -> str:
    """Whether the home knows the base, and where it is."""
    from ..bases import known

    if known.read(settings.root).get(profile.name) is None:
        return f"{profile.title or profile.name}: {profile.folder}"
    kinds = {"folder": "a folder", "file": "a single file, converted", "hub": "from the Hub, pinned"}
    return f"{profile.name} is known: {kinds[profile.kind]}, {profile.origin or profile.folder}"


def _weights(profile: BaseProfile, settings: Settings) -> Check:
    """Architecture and family, and whether experts can be merged into these weights at all."""
    from ..bases.families import GENERIC
    from ..bases.index import BaseIndex

    kind = f"architecture {profile.architecture or 'unknown'}"
    kind += f", ecosystem {profile.ecosystem}" if profile.ecosystem else ""
    own = "its own values" if not profile.family else f"family {profile.family}"
    family = "no known family, so generic values" if profile.family == GENERIC else own
    try:
        index = BaseIndex.open(profile.folder)
    except DiffGraphError as error:
        return Check("weights", False, f"{kind}, {family}; {error}")
    size = sum(file.stat().st_size for files in index.files.values() for file in files)
    where = f"{size / 1e9:.2f} GB on disk, {settings.dtype} on {settings.device}"
    return Check("weights", True, f"{kind}, {family}; {where}; key {profile.key[:12] or index.sha256[:12]}")


def _draws(profile: BaseProfile, settings: Settings) -> str:
    size = f"{profile.sizes[0].width} x {profile.sizes[0].height}" if profile.sizes else "the pipeline's own size"
    steps = profile.steps if settings.steps is None else settings.steps
    guidance = profile.guidance if settings.guidance is None else settings.guidance
    said = "what it is told" if profile.vocabulary == "open" else "only what it and its experts list"
    negative = "takes a negative prompt" if profile.negative_prompt else "takes no negative prompt"
    limit = f"reads {profile.prompt_limit} tokens" if profile.prompt_limit else "its prompt limit is unknown"
    return (
        f"{said} ({profile.vocabulary} vocabulary), {size}, {steps} steps, guidance {guidance:g}; {negative}, {limit}"
    )


def about_graph(settings: Settings) -> Iterator[Check]:
    """How many experts there are for the base, how many were measured on it, and what to do next."""
    from ..bases import registry
    from ..graph.store.opening import open_graph

    try:
        profile = registry.of_settings(settings)
        with open_graph(settings, profile) as store:
            everyone = store.experts()
            calibrated = {c.expert_id for c in store.calibrations()}
            runs = len(store.runs())
    except DiffGraphError as error:
        yield Check("graph", False, str(error))
        return
    here = [e for e in everyone if e.base_family == profile.architecture]
    done = sum(e.id in calibrated for e in here)
    where = settings.chroma_url or str(settings.root / "graph")
    others = f"; {len(everyone) - len(here)} for other architectures" if len(everyone) > len(here) else ""
    told = f"{len(here)} experts, {done} calibrated on this base{others}"
    yield Check("graph", True, f"{told}; {runs} runs; {where}")
    yield Check("next", True, _next(profile, len(here), done, settings))


def _next(profile: BaseProfile, experts: int, calibrated: int, settings: Settings) -> str:
    """A command that brings a person on."""
    if not experts:
        return (
            f"diffgraph scout FOLDER finds experts for {profile.architecture or 'it'}; the base draws without them too"
        )
    if calibrated < experts and _judged(profile, settings):
        return "diffgraph calibrate --all measures what its experts really do"
    if calibrated < experts:
        return f'diffgraph generate "…" draws, unjudged, experts as their cards say; {PREFIX}CRITIC names a critic'
    return 'diffgraph generate "…" draws'


def _judged(profile: BaseProfile, settings: Settings) -> bool:
    """Whether somebody here can judge what the base draws."""
    from ..plugins import ANYTHING
    from ..scoring import protocol

    try:
        return bool(protocol.fitting(settings.critic, protocol.CriticSetup(profile, home=settings.root)))
    except ANYTHING:  # told by the check of the critic
        return False
