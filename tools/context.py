"""What tools are handed: settings, the graph, the device's owner, the critic, and the request at work. Importing
this loads no torch.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bases import manifest, registry
from ..bases.index import BaseIndex
from ..bases.profile import BaseProfile
from ..errors import ExpertError, NoCritic, PlanError, ToolRetry, UserError
from ..graph.experts import sources
from ..graph.experts.expert import SourceRef
from ..graph.reading.request import Orders
from ..graph.reading.rules import ReadingRules
from ..graph.store.graph_store import GraphStore
from ..graph.store.opening import open_graph
from ..merging.plan.memory import Placement, Room, place
from ..merging.plan.merge_plan import MergePlan, PlanBase, PlanExpert, Sampler
from ..scoring import protocol
from ..scoring.protocol import Critic, CriticSetup
from ..settings import Settings
from .events import Emit, Event, silent
from .results import ActivationResult, Atoms

if TYPE_CHECKING:
    from ..merging.engine.engine import Engine


@dataclass(frozen=True)
class Job:
    """The request that a tool call belongs to; filled from the machine's state before each call.

    Attributes:
        prompt: the user's own words.
        n: images wanted; they use the seeds ``seed … seed + n - 1``.
        activation: what ``activate_experts`` last returned, or None.
        plan_id: the plan of this round, or empty.
        scouted: whether the scout has looked for missing skills already.
        slots: which of the n images a plan is to draw; empty: all of them.
        orders: what the user ordered outside the prompt; it wins over what is ordered in it.
        atoms: the request as a brain split it, or None: the rule does. judged: whether images of it were scored.
    """

    prompt: str = ""
    n: int = 1
    seed: int = 0
    activation: ActivationResult | None = None
    plan_id: str = ""
    scouted: bool = False
    slots: tuple[int, ...] = ()
    orders: Orders = field(default_factory=Orders)
    atoms: Atoms | None = None
    judged: bool = False


class Machinery:
    """What is expensive and shared by all requests of a process: base, engine and critic, each made when first needed.

    One engine owns the device; :attr:`lock` is held by whoever uses it.
    """

    def __init__(self, settings: Settings, profile: BaseProfile | None = None) -> None:
        self.settings = settings
        self.lock = threading.RLock()
        self._profile = profile
        self._critic: Critic | NoCritic | None = None

    @cached_property
    def profile(self) -> BaseProfile:
        """What the settings' base is. Raises UserError if there is no such base."""
        return self._profile or registry.of_settings(self.settings)

    @property
    def base_dir(self) -> Path:
        """The base pipeline's folder."""
        return self.profile.folder

    @cached_property
    def index(self) -> BaseIndex:
        """Names and shapes of the base's weights, from headers."""
        return BaseIndex.open(self.base_dir)

    @cached_property
    def base(self) -> PlanBase:
        """The base as a plan pins it."""
        return PlanBase(ref=self.profile.ref, family=self.profile.architecture, sha256=self.index.sha256)

    @cached_property
    def engine(self) -> Engine:
        """The owner of the device, loaded on first use (seconds). Raises BaseMissing for a damaged base."""
        import torch

        from ..merging.engine.engine import Engine

        listed = self.profile.manifest
        if listed is not None and self.base_dir.is_relative_to(listed.parent):
            under = f"{self.base_dir.relative_to(listed.parent).as_posix()}/"
            manifest.verify(listed, under, mend=self.profile.mend)
        if self.settings.threads > 0:
            torch.set_num_threads(self.settings.threads)
        held = self.placement
        return Engine(self.base_dir, self.settings.device, held.dtype, offload=held.offload)

    @cached_property
    def room(self) -> Room:
        """What was free on the device before the engine was loaded, and what else decides how the base is held."""
        from ..merging.engine.device_memory import device_memory

        return Room.of(self.profile, self.settings, device_memory(self.settings.device))

    @cached_property
    def placement(self) -> Placement:
        """How the engine holds the base."""
        return place(self.index, self.room)

    def drawing(self, sampler: Sampler) -> Placement:
        """How images of a size are drawn by the engine as it is held: in tiles or not, how many at once."""
        held = self.placement
        room = Room.of(self.profile, self.settings, self.room.memory, sampler)
        fixed = room.wanted.model_copy(update={"dtype": held.dtype, "offload": held.offload})
        return place(self.index, room.model_copy(update={"wanted": fixed}))

    def critic(self, store: GraphStore) -> Critic:
        """Who judges, made once; texts that it was not trained on are embedded by the graph's model.

        Raises NoCritic if nobody fits the base, UserError if the one that is named does not.
        """
        if self._critic is None:
            try:
                setup = CriticSetup(self.profile, embed_text=store.embedder.embed, home=self.settings.root)
                self._critic = protocol.fitting(self.settings.critic, setup)
            except NoCritic as error:
                self._critic = error
        if isinstance(self._critic, NoCritic):
            raise NoCritic(str(self._critic))
        return self._critic


@dataclass(frozen=True)
class Context:
    """Handed to every tool. ``root`` holds plans and images, keyed by ``plan_id``; ``job`` is the request at work."""

    settings: Settings
    store: GraphStore
    machinery: Machinery
    emit: Emit = silent
    job: Job = Job()
    plans: dict[str, MergePlan] = field(default_factory=dict, compare=False, repr=False)
    """Plans that this request has read, by id."""

    @classmethod
    @contextmanager
    def open(cls, settings: Settings | None = None, emit: Emit = silent) -> Iterator[Context]:
        """The graph and everything around it, closed at the end. Loads no model.

        Raises:
            BaseMissing: the base that the settings name is absent or damaged.
            UserError: there is no such base, or the home cannot be written.
        """
        settings = settings or Settings.load()
        try:
            settings.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{settings.root} cannot be made ({error.strerror}). Set DIFFGRAPH_HOME to a folder of yours."
            ) from error
        profile = registry.of_settings(settings, lambda text: emit(Event(kind="base", text=text)))
        with open_graph(settings, profile) as store:
            yield cls(settings, store, Machinery(settings, profile), emit)

    def with_job(self, job: Job) -> Context:
        """The same context, at work on ``job``."""
        return replace(self, job=job)

    def with_emit(self, emit: Emit) -> Context:
        """The same context, telling its events to ``emit``."""
        return replace(self, emit=emit)

    def for_request(self) -> Context:
        """The same context for one request, which reads each plan from the disk once."""
        return replace(self, plans={})

    def say(self, kind: str, text: str, **details: Any) -> None:
        """Tell whoever listens what is going on."""
        self.emit(Event(kind=kind, text=text, **details))

    # -- the base and the experts ------------------------------------------------------------------------------------

    @property
    def profile(self) -> BaseProfile:
        """The base that requests are answered with: how it draws, and what belongs to it."""
        return self.machinery.profile

    def sampler(self, experts: int = 1) -> Sampler:
        """How images are sampled that so many experts are composed for: the settings' values, else the base's."""
        settings, profile = self.settings, self.profile
        return Sampler(
            name=profile.sampler,
            steps=profile.steps if settings.steps is None else settings.steps,
            guidance=profile.guidance_for(experts) if settings.guidance is None else settings.guidance,
        )

    @property
    def family(self) -> str:
        """The base family that requests are answered in."""
        return self.machinery.base.family

    @property
    def reading(self) -> ReadingRules:
        """How the base wants prompts read."""
        return ReadingRules.of(self.profile.reading)

    @property
    def engine(self) -> Engine:
        return self.machinery.engine

    @property
    def critic(self) -> Critic:
        """The run-time critic. Raises NoCritic if nobody may judge, BaseMissing if its files are not here."""
        return self.machinery.critic(self.store)

    @property
    def unjudged(self) -> str:
        """Why nobody judges images here, as a sentence; "" if somebody does. Raises UserError as `critic` does."""
        try:
            self.machinery.critic(self.store)
        except NoCritic as error:
            return str(error)
        return ""

    def source(self, name: str) -> sources.Source:
        """A source by name, with the argument that the settings or the base give it. UserError if there is none."""
        own = {**_arguments(self.profile.sources), **_arguments((self.settings.sources or "").split(","))}
        argument = own.get(name, "")
        return sources.get(name, argument) if argument else sources.get(name)

    @property
    def source_names(self) -> list[str]:
        """Sources that the scout may ask: those that are set, else those that the base names."""
        said = self.settings.sources
        return list(_arguments(self.profile.sources if said is None else said.split(",")))

    def fetch(self, ref: SourceRef, sha256: str) -> Path:
        """The local file of a pinned reference. Raises ExpertError if its content is not ``sha256``."""
        path = self.source(ref.source).fetch(ref)
        from ..files.hashing import file_sha256

        if file_sha256(path) != sha256:
            raise ExpertError(f"{ref} is not the file that was registered. Register it anew.", path=str(path))
        return path

    def locate(self, expert: PlanExpert) -> Path:
        """The local file of a plan's expert."""
        try:
            ref = SourceRef.parse(expert.ref)
        except ValueError as error:
            raise UserError(str(error)) from error
        return self.fetch(ref, expert.sha256)

    # -- what is kept under the home ---------------------------------------------------------------------------------

    def images_dir(self, plan_id: str) -> Path:
        """Where the images of a plan are kept, whoever asked for them."""
        return self.settings.root / "images" / plan_id

    def plan_path(self, plan_id: str) -> Path:
        return self.settings.root / "plans" / f"{plan_id}.json"

    def save_plan(self, plan: MergePlan) -> Path:
        """Keep a plan under its id; a second time changes nothing, unless the file was damaged."""
        from ..files.atomic import write_bytes

        path = self.plan_path(plan.plan_id)
        data = plan.canonical_json().encode()
        if not path.is_file() or path.read_bytes() != data:
            make_folder(path.parent)
            write_bytes(path, data)
        return path

    def load_plan(self, plan_id: str) -> MergePlan:
        """A kept plan, read and held against its id once a request.

        Raises ToolRetry for an id that nobody proposed, or a file that does not fit its id.
        """
        if plan_id in self.plans:
            return self.plans[plan_id]
        if not (len(plan_id) == 64 and all(c in "0123456789abcdef" for c in plan_id)):
            raise ToolRetry(f"{plan_id[:80]!r} is no plan id: take the one that propose_plan returned")
        path = self.plan_path(plan_id)
        if not path.is_file():
            raise ToolRetry(f"there is no plan {plan_id[:12]}…: call propose_plan first")
        try:
            plan = MergePlan.load(path)
        except (PlanError, ValueError) as error:
            raise ToolRetry(f"plan {plan_id[:12]}… is damaged: propose it again") from error
        if plan.plan_id != plan_id:
            raise ToolRetry(f"plan {plan_id[:12]}… was edited: propose it again")
        self.plans[plan_id] = plan
        return plan


def _arguments(named: Iterable[str]) -> dict[str, str]:
    """``name:argument`` -> its two halves, in order; what is empty is left out."""
    halves = (one.strip().partition(":") for one in named)
    return {name: argument for name, _, argument in halves if name}


def make_folder(path: Path) -> Path:
    """``path``, made if need be. Raises UserError if it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{path} cannot be made ({error.strerror}). Set DIFFGRAPH_HOME to a folder of yours."
        ) from error
    return path
