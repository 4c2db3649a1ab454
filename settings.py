"""Settings, read from the environment (``DIFFGRAPH_…``) and from ``.env`` in the working directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from .errors import UserError
from .plugins import closest

PREFIX = "DIFFGRAPH_"


class Settings(BaseSettings):
    """Everything a user may change without touching code. ``diffgraph doctor`` prints the values in force."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    home: Path = Field(default=Path("~/.diffgraph"), description="graph, caches, checkpoints and runs live here")
    brain: str = Field(default="offline", description="'offline', or 'openai:MODEL' for any OpenAI-compatible server")
    base: str = Field(default="world", description="'world', or a diffusers folder of your own")
    world: Path | None = Field(default=None, description="another folder holding an embedded world")
    sources: str = Field(
        default="world", description="where the scout may look, comma separated: world, huggingface, …"
    )
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, mps")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="dtype of the pipeline's weights: float32, bfloat16, float16"
    )
    method: str = Field(default="linear", description="merge method the planner writes into a plan")
    steps: int = Field(default=16, ge=1, le=1000, description="sampling steps")
    guidance: float | None = Field(
        default=None,
        ge=0,
        le=50,
        description="guidance scale; none: 1 on the embedded world (1.5 where experts are composed), 7 on other bases",
    )
    rounds: int = Field(default=5, ge=0, le=20, description="how often the critic may send a plan back")
    accept: float = Field(default=0.8, ge=0, le=1, description="critic score from which an image is accepted")
    sure: float = Field(
        default=0.95, ge=0, le=1, description="under this score another seed is tried for as long as that helps"
    )
    step_budget: int = Field(default=40, ge=1, description="graph steps an agent run may take")
    chroma_url: str | None = Field(default=None, description="http://host:port of a Chroma server; none: embedded")
    checkpoint_url: str | None = Field(default=None, description="postgresql://… for checkpoints; none: SQLite in home")
    threads: int = Field(default=0, ge=0, description="CPU threads for torch; 0 leaves torch's default")

    @property
    def root(self) -> Path:
        """``home`` with ``~`` expanded, absolute."""
        return self.home.expanduser().absolute()

    def guidance_scale(self, experts: int = 1) -> float:
        """The guidance scale in force for a plan of so many experts.

        On the embedded world one expert needs none (which is twice as fast); a subject that shares the weights with a
        style or a background gains by a little, chosen on the suite ``develop``.
        """
        if self.guidance is not None:
            return self.guidance
        return 7.0 if self.base != "world" else 1.5 if experts > 1 else 1.0

    @classmethod
    def load(cls, **changes: Any) -> Settings:
        """The settings in force; a change of None leaves what the environment says.

        Raises:
            UserError: a value that cannot be, with the variable that holds it.
        """
        try:
            return cls(**{name: value for name, value in changes.items() if value is not None})
        except ValidationError as error:
            problem = error.errors()[0]
            name = PREFIX + "_".join(str(part) for part in problem["loc"]).upper()
            raise UserError(f"{name}={problem['input']!r} will not do: {problem['msg']}.") from error


def misspelt(environment: dict[str, str] | None = None) -> dict[str, str]:
    """Variables that look like settings but are none, with the closest setting ("" if nothing is close)."""
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    names = [name for name in (os.environ if environment is None else environment) if name.startswith(PREFIX)]
    return {
        name: next(iter(closest(name, known, n=1, at_least=0.6)), "") for name in sorted(names) if name not in known
    }
