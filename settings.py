"""Settings, read from the environment (``DIFFGRAPH_…``) and from ``.env`` in the working directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from .errors import UserError
from .plugins import closest

PREFIX = "DIFFGRAPH_"


def user_path(path: Path | str) -> Path:
    """A path as a person wrote it, with ``~`` expanded, absolute.

    Raises:
        UserError: it names a user who is not there, or holds bytes that are no UTF-8, which JSON cannot carry.
    """
    try:
        whole = Path(path).expanduser().absolute()
        str(whole).encode()
    except RuntimeError as error:
        raise UserError(f"{str(path)!r} names the home of a user who is not on this machine.") from error
    except UnicodeEncodeError as error:
        raise UserError(f"The path {str(path)!r} is not UTF-8. Rename the folder, or name another.") from error
    return whole


class FromEnvironment(BaseSettings):
    """Values read from variables with our prefix, and from ``.env``."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    @classmethod
    def load(cls, **changes: Any) -> Self:
        """The values in force; a change of None leaves what the environment says.

        Raises:
            UserError: a value that cannot be, with the variable that holds it.
        """
        try:
            return cls(**{name: value for name, value in changes.items() if value is not None})
        except ValidationError as error:
            problem = error.errors()[0]
            name = PREFIX + "_".join(str(part) for part in problem["loc"]).upper()
            raise UserError(f"{name}={problem['input']!r} will not do: {problem['msg']}.") from error


class Settings(FromEnvironment):
    """Everything a user may change without touching code. ``diffgraph doctor`` prints the values in force."""

    home: Path = Field(default=Path("~/.diffgraph"), description="graph, caches, checkpoints and runs live here")
    brain: str = Field(
        default="offline",
        description="'offline', 'openai:MODEL' for any OpenAI-compatible server, or a plug-in's 'NAME:MODEL'",
    )
    brain_timeout: float = Field(
        default=120, gt=0, le=3600, description="seconds for one call of the brain, retries included; at most an hour"
    )
    brain_retries: int = Field(default=2, ge=0, le=10, description="how often a call that the server fails is repeated")
    brain_max_tokens: int | None = Field(
        default=None, ge=1, description="tokens of an answer; none: the server's limit"
    )
    base: str | None = Field(
        default=None,
        description="a base: a known name, a diffusers folder, a .safetensors file, a Hub id (owner/name@revision), a "
        "plug-in's name or name:argument; none: the one in use (`diffgraph base use`)",
    )
    base_parts: str | None = Field(
        default=None,
        description="for a base that is a single file: a diffusers folder, Hub id or known base that has what the file "
        "lacks; none: looked for",
    )
    critic: str = Field(
        default="auto",
        description="auto (whom the base brings, else any that fits), vlm:openai:MODEL, vlm:local:FOLDER_OR_HUB_ID, "
        "clip:FOLDER_OR_HUB_ID, a plug-in's name or name:argument, or none: unjudged",
    )
    sources: str | None = Field(
        default=None,
        description="where the scout may look, comma separated: huggingface, civitai, folder:PATH, …; none: where the "
        "base says",
    )
    scout_patience: float = Field(
        default=120, ge=0, le=86400, description="seconds that one look of `scout` may wait for busy hubs, all together"
    )
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, mps")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="dtype of the pipeline's weights; auto: float32 on a CPU, bfloat16 on a GPU that has it, else the "
        "family's own",
    )
    offload: Literal["auto", "none", "model", "group"] = Field(
        default="auto",
        description="what leaves the GPU between its turns: none, whole models (model), layers (group); auto: by what "
        "is free",
    )
    vae_tiling: Literal["auto", "on", "off"] = Field(
        default="auto", description="whether images are decoded in tiles; auto: where they do not fit at once"
    )
    batch: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="images drawn at once when an expert is calibrated; none: what fits, 16 at most",
    )
    method: str = Field(default="linear", description="merge method the planner writes into a plan")
    steps: int | None = Field(default=None, ge=1, le=1000, description="sampling steps; none: the base's own")
    guidance: float | None = Field(default=None, ge=0, le=50, description="guidance scale; none: the base's own")
    rounds: int = Field(default=5, ge=0, le=20, description="how often the critic may send a plan back")
    accept: float = Field(default=0.8, ge=0, le=1, description="critic score from which an image is accepted")
    sure: float = Field(
        default=0.95,
        ge=0,
        le=1,
        description="under this score another seed is tried for as long as that helps (closed bases)",
    )
    image_cost: float = Field(
        default=0.02, ge=0, le=1, description="critic score that one more image must be expected to gain (open bases)"
    )
    step_budget: int = Field(default=40, ge=1, description="graph steps an agent run may take")
    chroma_url: str | None = Field(default=None, description="http://host:port of a Chroma server; none: embedded")
    checkpoint_url: str | None = Field(default=None, description="postgresql://… for checkpoints; none: SQLite in home")
    threads: int = Field(default=0, ge=0, description="CPU threads for torch; 0 leaves torch's default")

    @property
    def root(self) -> Path:
        """``home`` with ``~`` expanded, absolute."""
        return user_path(self.home)


_declared: list[type[PluginSettings]] = []


class PluginSettings(FromEnvironment):
    """Settings that a plug-in brings: a subclass of this, whose fields are then variables like ours.

    A subclass is known as soon as its module is imported. A field that is a setting already is an error at import.
    """

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for other in groups():
            if taken := sorted(cls.model_fields.keys() & other.model_fields.keys()):
                raise ValueError(f"{PREFIX}{taken[0].upper()} is a setting of {other.__module__} already")
        _declared.append(cls)


def groups() -> list[type[FromEnvironment]]:
    """`Settings`, then what the plug-ins that were loaded bring, in an order that does not depend on who came first."""
    return [Settings, *sorted(_declared, key=lambda group: (group.__module__, group.__qualname__))]


def misspelt(environment: dict[str, str] | None = None) -> dict[str, str]:
    """Variables that look like settings but are none, with the closest setting ("" if nothing is close)."""
    known = [PREFIX + name.upper() for group in groups() for name in group.model_fields]
    names = [name for name in (os.environ if environment is None else environment) if name.startswith(PREFIX)]
    return {
        name: next(iter(closest(name, known, n=1, at_least=0.6)), "") for name in sorted(names) if name not in known
    }
