"""What the graph knows of one expert: its identity, its skills and what was measured of it."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Facet = Literal["subject", "style", "background", "action", "lighting", "quality"]
FACETS: tuple[Facet, ...] = get_args(Facet)


class Frozen(BaseModel):
    """Immutable, no unknown fields: what every node and edge of the graph is."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Skill(Frozen):
    """One thing that an expert can do, as its card says it.

    ``trigger`` is the text that calls the skill up in a prompt; ``aliases`` are other names for it.
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


class Expert(Frozen):
    """A node of the expert graph: one weight file with skills (registration needs no weights in memory)."""

    id: str
    """Stable, readable and unique: ``source/repo`` (plus ``/file-stem`` if a repo holds several)."""
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
