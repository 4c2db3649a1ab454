"""Settings of the vision critic: its server, its patience, its budget, its calibration."""

from __future__ import annotations

from pydantic import Field, SecretStr

from ....settings import PluginSettings


class VlmSettings(PluginSettings):
    """What ``vlm:openai:MODEL`` and ``vlm:local:…`` go by."""

    critic_url: str | None = Field(
        default=None,
        description="base URL of the server of vlm:openai:MODEL, ending in /v1; none: OPENAI_BASE_URL, else OpenAI",
    )
    critic_key: SecretStr | None = Field(default=None, description="its API key; none: OPENAI_API_KEY")
    critic_timeout: float = Field(
        default=60, gt=0, le=3600, description="seconds for one question to the vision critic, retries included"
    )
    critic_retries: int = Field(
        default=2, ge=0, le=10, description="how often a question that the critic's server fails is repeated"
    )
    critic_at_once: int = Field(
        default=8, ge=1, le=64, description="questions that the critic's server, or model in process, gets at once"
    )
    critic_questions: int = Field(
        default=100_000,
        ge=1,
        description="questions that the vision critic may ask in one process; kept answers are free",
    )
    critic_calibration: str | None = Field(
        default=None, description="a file of `diffgraph critic fit`; none: the one in the home for this critic, if any"
    )
