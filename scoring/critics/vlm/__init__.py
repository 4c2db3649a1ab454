"""A vision-language model as the critic: one yes/no question an atom, the answer's probability, calibrated. Named
``vlm:openai:MODEL`` (a server), ``vlm:local:PATH_OR_ID`` (in process), or ``vlm`` (what DIFFGRAPH_CRITIC_URL serves).
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from ....errors import UserError
from ....settings import Settings, user_path
from ... import protocol
from ...protocol import CriticSetup, Unusable
from .backend import Backend
from .cache import Answers, Remembered
from .calibration import Calibration
from .critic import VlmCritic
from .openai_server import OpenAIServer
from .settings import VlmSettings

_SAY_WHICH = (
    "Say which vision model: DIFFGRAPH_CRITIC=vlm:openai:MODEL, served at DIFFGRAPH_CRITIC_URL or OPENAI_BASE_URL, or "
    "vlm:local:FOLDER_OR_HUB_ID, which runs in this process."
)


@protocol.critic("vlm")
def made(setup: CriticSetup) -> VlmCritic:
    """A vision model, for any base: vlm:openai:MODEL at a server, vlm:local:FOLDER_OR_HUB_ID in this process."""
    try:
        critic, own = uncalibrated(setup), VlmSettings.load().critic_calibration
        path = user_path(own) if own else calibration_path(fitted_as(setup.argument, critic), _home(setup))
        critic.calibrate(Calibration.read(path) if own or path.is_file() else Calibration())
    except UserError as error:
        if setup.argument.strip() or str(error) == _SAY_WHICH:
            raise
        raise Unusable(str(error)) from error  # the settings name its server, so somebody means it
    return critic


def uncalibrated(setup: CriticSetup) -> VlmCritic:
    """The same, its probabilities as the model says them, whatever was fitted before. UserError if it is not there."""
    settings = VlmSettings.load()
    kept = Answers(_home(setup) / "cache" / "vlm-answers.sqlite")
    return VlmCritic(Remembered(_model(setup, settings), kept, settings.critic_questions))


def _home(setup: CriticSetup) -> Path:
    return setup.home or Settings.load().root


def fitted_as(argument: str, critic: VlmCritic) -> str:
    """The argument under which a critic's calibration lies: a server's model is the same one if nobody named it."""
    model = critic.backend.model if isinstance(critic.backend, Remembered) else critic.backend
    return f"openai:{model.model}" if isinstance(model, OpenAIServer) else argument.strip()


def calibration_path(argument: str, home: Path) -> Path:
    """Where the calibration of ``vlm:ARGUMENT`` lies unless the settings say otherwise."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", argument).strip("-")[-60:]
    return home / "critics" / f"vlm-{name}-{hashlib.sha256(argument.encode()).hexdigest()[:8]}.json"


def _model(setup: CriticSetup, settings: VlmSettings) -> Backend:
    """The model that ``openai:MODEL`` or ``local:PATH_OR_ID`` means. UserError if none is meant, or it is absent."""
    kind, _, name = setup.argument.strip().partition(":")
    if (kind == "openai" and name.strip()) or (not kind and settings.critic_url):
        return OpenAIServer.of_settings(name.strip(), settings)
    if kind == "local" and name.strip():
        from .local_model import LocalModel

        return LocalModel.of(
            name.strip(), device=setup.device, batch=settings.critic_at_once, seconds=settings.critic_timeout
        )
    raise UserError(_SAY_WHICH)
