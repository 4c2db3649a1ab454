"""What ``diffgraph doctor`` looks at: machine, home, base, graph, critic, brain and settings."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict

from ..errors import DiffGraphError, NoCritic, UserError
from ..graph.experts import sources
from ..plugins import ANYTHING, broken_ones
from ..settings import PREFIX, FromEnvironment, Settings, groups, misspelt
from .doctor_base import Check, about_base, about_graph

LIBRARIES = ("torch", "diffusers", "transformers", "langgraph", "langchain", "chromadb", "pydantic")
ENOUGH_MB = 500
_WHO = re.compile(r"(?<=://)[^/@\s]+@")


def examine(settings: Settings) -> list[Check]:
    """Look at everything; a part that fails is a finding, not an exception."""
    sources.names()  # loads those that bring settings
    checks = [_python(), *_libraries(), _device(settings), _home(settings)]
    checks += [*about_base(settings), _critic(settings), _brain(settings), *about_graph(settings)]
    checks += _plugin_settings()
    checks += [Check("plug-in", False, f"{name} cannot be loaded: {why}") for name, why in broken_ones().items()]
    checks += [
        Check(name, False, f"is no setting{f'; did you mean {near}?' if near else ''}")
        for name, near in misspelt().items()
    ]
    return checks


def as_json(settings: Settings, checks: list[Check]) -> dict[str, object]:
    """The document of ``doctor --json``."""
    values: dict[str, object] = {}
    for group in _in_force(settings):
        values |= {k: _shown(v) if isinstance(v, str) else v for k, v in group.model_dump(mode="json").items()}
    return {
        "ok": all(check.ok for check in checks),
        "checks": [asdict(check) for check in checks],
        "settings": values,
    }


def settings_rows(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """(variable, value in force, meaning) of every setting, those that plug-ins bring included."""
    for group in _in_force(settings):
        for name, field in type(group).model_fields.items():
            value = getattr(group, name)
            yield PREFIX + name.upper(), "" if value is None else _shown(str(value)), field.description or ""


def _shown(value: str) -> str:
    """A setting's value without the name and password of an address: what doctor prints is pasted into reports."""
    return _WHO.sub("…@", value)


def _in_force(settings: Settings) -> list[FromEnvironment]:
    """``settings``, and those of plug-ins as the environment says them, as far as they can be."""
    found: list[FromEnvironment] = [settings]
    for group in groups()[1:]:
        with suppress(UserError):  # told by `_plugin_settings`
            found.append(group.load())
    return found


def _plugin_settings() -> Iterator[Check]:
    for group in groups()[1:]:
        try:
            group.load()
        except UserError as error:
            yield Check("settings", False, f"of {group.__module__}: {error}")


def _python() -> Check:
    version = platform.python_version()
    return Check("python", sys.version_info >= (3, 11), f"{version} on {platform.system()} {platform.machine()}")


def _libraries() -> Iterator[Check]:
    for name in LIBRARIES:
        try:
            yield Check(name, True, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Check(name, False, f"is not installed: pip install {name}, or make setup in the clone")


def _device(settings: Settings) -> Check:
    try:
        import torch
    except ImportError as error:
        return Check("device", False, f"PyTorch cannot be imported: {error}")
    if torch.cuda.is_available():
        found = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    elif torch.backends.mps.is_available():
        found = "Apple GPU"
    else:
        found = f"CPU, {torch.get_num_threads()} threads"
    wants_cuda = settings.device.startswith("cuda") and not torch.cuda.is_available()
    return Check("device", not wants_cuda, f"{found}; {PREFIX}DEVICE={settings.device}")


def _home(settings: Settings) -> Check:
    root = settings.root
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=root):
            pass
    except OSError as error:
        return Check(
            "home", False, f"{root} cannot be written: {error.strerror}; set {PREFIX}HOME to a folder of yours"
        )
    free = shutil.disk_usage(root).free // 2**20
    return Check("home", free >= ENOUGH_MB, f"{root}, {free / 1024:.1f} GiB free")


def _critic(settings: Settings) -> Check:
    from ..bases import registry
    from ..scoring import protocol

    try:
        protocol.names()  # loads those that bring settings
        profile = registry.of_settings(settings)
        found = protocol.fitting(settings.critic, protocol.CriticSetup(profile, home=settings.root))
    except NoCritic as error:
        return Check("critic", True, f"none: images are drawn unjudged, nothing is calibrated. {error}")
    except DiffGraphError as error:
        return Check("critic", False, str(error))
    except ANYTHING as error:  # a stranger's critic, made here for the first time
        return Check("critic", False, f"it cannot be made: {type(error).__name__}: {str(error)[:300]}")
    said = settings.critic.strip()
    return Check("critic", True, said if said not in (protocol.AUTO, "") else profile.critic or type(found).__name__)


def _brain(settings: Settings) -> Check:
    kind, _, model = settings.brain.partition(":")
    if settings.brain == "offline":
        return Check("brain", True, "offline: rules, no key, no network")
    if kind != "openai":
        from ..agents.brains import brain

        known = kind in brain.names()
        return Check(
            "brain", known, settings.brain if known else f"there is no brain {kind!r}: {', '.join(brain.names())}"
        )
    if not model:
        return Check("brain", False, f"{PREFIX}BRAIN={settings.brain!r} names no model: 'openai:MODEL'")
    server = _shown(os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1"))
    has_key = bool(os.environ.get("OPENAI_API_KEY"))
    return Check("brain", has_key, f"{model} at {server}" + ("" if has_key else "; OPENAI_API_KEY is not set"))
