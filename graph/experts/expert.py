"""What the graph knows of one expert: its identity, its skills and what was measured of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, SerializationInfo, SerializerFunctionWrapHandler, model_serializer

Facet = Literal[
    "subject", "character", "concept", "clothing", "pose", "style", "background", "action", "lighting", "quality"
]
FACETS: tuple[Facet, ...] = get_args(Facet)


THINGS: frozenset[Facet] = frozenset({"subject", "character"})
"""Facets of what a picture is of: several of them are joined by "and"; all others say how it looks."""


class Frozen(BaseModel):
    """Immutable, no unknown fields: what every node and edge of the graph is."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Skill(Frozen):
    """One thing that an expert can do, as its card says it.

    ``trigger`` is the text that calls the skill up in a prompt, or empty where no word is needed; ``aliases`` are other
    names for it.
    """

    facet: Facet
    name: str
    trigger: str
    aliases: tuple[str, ...] = ()


class SourceRef(Frozen):
    """Where one file of one expert lies, pinned: ``source:repo@revision:file``."""

    source: str
    repo: str
    revision: str
    file: str

    def __str__(self) -> str:
        return f"{self.source}:{self.repo}@{self.revision}:{self.file}"

    @classmethod
    def parse(cls, text: str) -> SourceRef:
        """Read the form that ``str()`` writes. Raises ValueError on any other."""
        source, sep1, rest = text.partition(":")
        repo, sep2, rest = rest.partition("@")
        revision, sep3, file = rest.partition(":")
        if not (sep1 and sep2 and sep3 and source and repo and revision and file):
            raise ValueError(f"{text!r} is not of the form source:repo@revision:file")
        return cls(source=source, repo=repo, revision=revision, file=file)


Text = Annotated[str, Field(max_length=600)]
"""A line of a stranger's text in a node; longer ones are cut before they get here (`card.clean`)."""
Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$|^$")]
"""sha256 in hex, or empty."""
MAX_DESCRIPTION = 2_000
MAX_GROUPS = 32
MAX_TAG_COUNTS = 64
MAX_WEIGHT = 20.0


class Expert(Frozen):
    """A node of the expert graph: one weight file with skills (registration needs no weights in memory).

    What strangers wrote is cleaned and bounded; what nobody said is left out of the node's JSON.
    """

    id: str
    """Stable, readable and unique: begins with the source's name."""
    title: str
    ref: SourceRef
    sha256: str
    base_family: str
    kind: str = Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=60)
    """As the format of its file calls it (`merging.formats.detect`), or ``base`` for a base pipeline."""
    rank: int | None = None
    size_bytes: int = Field(ge=0)
    licence: str = "unknown"
    created: str = ""
    """ISO date on which the source says the repo appeared; empty if it says nothing. Tells an original from a copy."""
    samples: int = Field(default=0, ge=0)
    """Sample prompts that the card shows; a copy seldom brings them along."""
    tags: tuple[str, ...] = ()
    skills: tuple[Skill, ...] = ()
    text: str = ""
    """The skill text that is embedded (built from the card, never taken as instructions)."""

    description: str = Field(default="", max_length=MAX_DESCRIPTION)
    """What its author says of it: one line of plain text."""
    file_names: tuple[Text, ...] = Field(default=(), max_length=16)
    """What its file is called here, where it was published and where it was trained, without suffix."""
    triggers: tuple[tuple[Text, ...], ...] = Field(default=(), max_length=MAX_GROUPS)
    """Groups of words that call it; any one group does, all words of it together. None: it needs no word."""
    tag_counts: tuple[tuple[Text, int], ...] = Field(default=(), max_length=MAX_TAG_COUNTS)
    """The commonest tags of its training pictures with how often each stood there, commonest first."""
    weight: float | None = Field(default=None, ge=-MAX_WEIGHT, le=MAX_WEIGHT)
    """The weight that its user or its author names; None: nobody does."""
    clip_weight: float | None = Field(default=None, ge=-MAX_WEIGHT, le=MAX_WEIGHT)
    """The same for the text encoder, where it is another."""
    weight_min: float | None = Field(default=None, ge=-MAX_WEIGHT, le=MAX_WEIGHT)
    weight_max: float | None = Field(default=None, ge=-MAX_WEIGHT, le=MAX_WEIGHT)
    negative: Text = ""
    """What its user or its author puts into the negative prompt."""
    examples: tuple[Text, ...] = Field(default=(), max_length=16)
    """Prompts of pictures that were made with it."""
    popularity: int = Field(default=0, ge=0)
    """Downloads, as its source counts them; 0 if it does not say."""
    base_model: Text = ""
    """The base that its author names, as written: ``Pony``, ``SDXL 1.0``."""
    ecosystem: str = Field(default="", max_length=60)
    """What it works well with, where that is narrower than its family: ``pony``, ``illustrious``, …"""
    nsfw: bool = False
    """Whether somebody says that it is not safe for work."""
    off: bool = False
    """Whether it is left out of every choice until its user says otherwise."""
    missing: bool = False
    """Whether its file was gone when its folder was last looked through."""
    payload_sha256: Hex = ""
    """sha256 of its tensors alone (`files.payload_hash`); its first 12 digits are AutoV3."""
    also_at: tuple[str, ...] = Field(default=(), max_length=16)
    """Other places of the same bytes, as `SourceRef` writes them."""
    origin: Text = ""
    """Where it was published, as ``civitai:MODEL@VERSION``; empty if nobody says."""
    preview: Text = ""
    """Name of the picture beside its file, or empty."""
    warnings: tuple[Text, ...] = Field(default=(), max_length=8)
    """What its user should know of it: a scan that failed, a hash that its sidecar names and its file has not."""

    @model_serializer(mode="wrap")
    def _what_is_said(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        """Without the optional fields that nobody filled, unless ``context={"whole": True}``: a graph holds many."""
        data: dict[str, Any] = handler(self)
        if not (info.context or {}).get("whole"):
            for name in _SPARE.intersection(data):
                if getattr(self, name) == type(self).model_fields[name].get_default():
                    del data[name]
        return data

    @property
    def autov2(self) -> str:
        """The short hash by which A1111 and Civitai name files."""
        return self.sha256[:10]

    @property
    def autov3(self) -> str:
        """The short hash of the tensors alone; empty if it was not computed."""
        return self.payload_sha256[:12]

    @property
    def usable(self) -> bool:
        """Whether it may be chosen at all."""
        return not (self.off or self.missing)


_SPARE = frozenset(Expert.model_fields) - {
    *("id", "title", "ref", "sha256", "base_family", "kind", "rank", "size_bytes", "licence", "created", "samples"),
    *("tags", "skills", "text"),
}
