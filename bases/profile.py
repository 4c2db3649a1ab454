"""What a base is: `BaseProfile`, plain data that tells every room how the base draws and what belongs to it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ..settings import user_path

Dtype = Literal["float32", "bfloat16", "float16"]
Kind = Literal["folder", "file", "hub"]


class Frozen(BaseModel):
    """Data that nobody changes and that holds nothing unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Size(Frozen):
    """Of an image, in pixels."""

    width: int = Field(ge=8)
    height: int = Field(ge=8)


class MemoryPolicy(Frozen):
    """How the weights may be held: the dtype that the family was released in."""

    dtype: Dtype = "float32"


class Reference(Frozen):
    """A prompt that every expert of the base is measured on; ``wanted`` maps a facet to what the image must show."""

    text: str = Field(min_length=1)
    wanted: dict[str, str] = Field(default_factory=dict)


class PlannerRules(Frozen):
    """What the offline brain tries when an image is not good enough, chosen where it was measured.

    Attributes:
        raise_by, lower_by: factors on the weight of the weakest facet's expert, and on the others'.
        highest, lowest: bounds of a weight that was shifted so.
        seed_step: from one seed that is tried to the next.
        seeds_first: so many other seeds are tried before weights and methods.
        next_methods: merge methods to turn to, the most promising first; no other is tried by rule.
        most_methods: so many of them before weight and seed have their turn again.
    """

    raise_by: float = Field(default=1.25, gt=1)
    lower_by: float = Field(default=0.8, gt=0, lt=1)
    highest: float = Field(default=1.6, gt=0)
    lowest: float = Field(default=0.2, gt=0)
    seed_step: int = Field(default=1009, ge=1)
    seeds_first: int = Field(default=4, ge=0)
    next_methods: tuple[str, ...] = ("np_lora", "magnitude_balanced", "ties", "linear")
    most_methods: int = Field(default=2, ge=0)


class MeasureRules(Frozen):
    """How an expert is calibrated. Gains and levels are the critic's probabilities (0..1), shifts lengths (0..2).

    Attributes:
        strengths: weights at which it draws; 0 is the bare base.
        references: so many reference prompts.
        no_shift, no_gain: under these an expert has no effect, or does not do what its card says.
        good_gain, good_level: from these on it works.
    """

    strengths: tuple[float, ...] = (0.0, 0.5, 1.0, 1.25)
    references: int = Field(default=8, ge=1)
    no_shift: float = 0.05
    no_gain: float = 0.05
    good_gain: float = 0.2
    good_level: float = 0.5


class PairingRules(Frozen):
    """How a look is measured beside experts of subjects.

    Attributes:
        shares: of its weight in the blocks that lay out a subject, that are tried.
        probes: so many pairings are drawn.
        least_gain: of the mean score over the whole weight's, below which the whole weight is kept.
    """

    shares: tuple[float, ...] = (1.0, 0.5, 0.0)
    probes: int = Field(default=24, ge=1)
    least_gain: float = 0.05


class ReadingWords(Frozen):
    """What is peculiar to prompts for this base; `graph.reading.rules` says what each does.

    Attributes:
        filler: words that ask for nothing here, because all that it draws is of that sort ("icon").
        plain: the word for a background of one colour ("plain" in "plain red"); "" where it draws none.
        colours: other words for the colours of those backgrounds ("crimson" -> "red").
    """

    filler: frozenset[str] = frozenset()
    plain: str = ""
    colours: dict[str, str] = Field(default_factory=dict)


class Demo(Frozen):
    """What ``diffgraph demo`` shows: the prompt that is drawn. The newest expert that nobody measured is calibrated."""

    prompt: str = Field(min_length=1)


class Family(Frozen):
    """How the bases of one family draw, whoever trained them. Each file of `bases.families` is one.

    Attributes:
        name: of the family ("sdxl").
        architecture: what can be merged: experts fit bases of their own architecture only; "" where it is unknown.
        ecosystem: what works well together ("pony", "turbo"); "" is the family's plain release.
        sizes: native sizes, the usual one first; empty: what the pipeline itself takes.
        sampler: a name of `merging.plan.samplers`; "default" keeps the base's own scheduler.
        guidance: scale for the base alone and for one expert.
        composed_guidance: scale where several experts are composed; None: the same.
        guidance_kind: "cfg": the image is drawn with and without the prompt, and the scale is how far it goes from the
            one to the other (up to 1: no guidance); "distilled": the scale is an input of the denoiser, which draws
            once; "none": guidance was trained away, and the scale is not read.
        negative_prompt: whether it takes one.
        prediction: what the denoiser predicts; "" where only the base's own scheduler knows.
        zero_terminal_snr: whether it was trained down to pure noise (Lin et al., arXiv 2305.08891).
        trigger_position: where triggers stand that the user's words lack.
        quality_words: what its makers recommend in front of a prompt; told, never added.
        prompt_limit: tokens that its text encoder reads; None: no limit is known.
        languages: in which prompts are understood (ISO 639-1).
        vocabulary: "open": it draws what it is told; "closed": only what its card and experts list.
    """

    name: str = Field(min_length=1, max_length=80)
    architecture: str = Field(default="", max_length=80)
    ecosystem: str = Field(default="", max_length=80)
    sizes: tuple[Size, ...] = ()
    sampler: str = "default"
    steps: int = Field(default=30, ge=1, le=1000)
    guidance: float = Field(default=7.0, ge=0, le=50)
    composed_guidance: float | None = Field(default=None, ge=0, le=50)
    guidance_kind: Literal["cfg", "distilled", "none"] = "cfg"
    negative_prompt: bool = True
    prediction: Literal["", "epsilon", "v_prediction", "flow"] = ""
    zero_terminal_snr: bool = False
    trigger_position: Literal["front", "end"] = "front"
    quality_words: str = Field(default="", max_length=400)
    prompt_limit: int | None = Field(default=None, ge=1)
    languages: tuple[str, ...] = ("en",)
    memory: MemoryPolicy = MemoryPolicy()
    vocabulary: Literal["open", "closed"] = "open"


class BaseProfile(Family):
    """One base: where it is, how it draws (`Family`), and all that comes along with it.

    Attributes:
        family: name of the family whose values it took; "" where it brings its own.
        where: the diffusers folder that its weights are read from.
        kind: what a person named: such a folder, a .safetensors file, or an id on the Hub.
        origin: that file or id ("owner/name@commit"); "" for a folder.
        key: sha256 of its denoiser's weights, by which calibrations are kept; "" where nobody has hashed them yet
            (`bases.key.key_of` does).
        ref: how plans name it ("folder:my-sd15").
        title: what a person calls it, in a sentence.
        reference_prompts: what experts are measured on; empty: chosen from what the base says it can draw.
        critic: which critic judges it (name or name:argument); "" if it brings none.
        sources: where the scout asks by default (name or name:argument).
        graph: a JSON-lines file that is taken into the home's graph; None if it ships none.
        manifest: a JSON file, path -> sha256, by which files beside it are verified before they are used.
        mend: what to do when a file is absent or damaged.
        acts_unasked: share of a look's level that must be left without its trigger for a prompt to leave that unsaid;
            None: every trigger is said.
        demo: what ``diffgraph demo`` shows on it.
    """

    family: str = ""
    where: str = Field(min_length=1)
    kind: Kind = "folder"
    origin: str = ""
    key: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    ref: str = Field(min_length=1)
    title: str = ""
    reference_prompts: tuple[Reference, ...] = ()
    critic: str = ""
    sources: tuple[str, ...] = ()
    graph: Path | None = None
    manifest: Path | None = None
    mend: str = ""
    acts_unasked: float | None = Field(default=None, ge=0, le=1)
    demo: Demo | None = None
    planner: PlannerRules = PlannerRules()
    measure: MeasureRules = MeasureRules()
    pairing: PairingRules = PairingRules()
    reading: ReadingWords = ReadingWords()

    @field_validator("sources")
    @classmethod
    def _named(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        if any(not source.partition(":")[0].strip() for source in sources):
            raise ValueError("a source is a name, or name:argument")
        return sources

    @property
    def folder(self) -> Path:
        """``where`` as an absolute path."""
        return user_path(self.where)

    def guidance_for(self, experts: int) -> float:
        """The guidance scale of an image that so many experts are composed for."""
        composed = experts > 1 and self.composed_guidance is not None
        return float(self.composed_guidance) if composed and self.composed_guidance is not None else self.guidance
