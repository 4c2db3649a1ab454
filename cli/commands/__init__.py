"""The groups of commands, one module each.

A module in this package belongs to `diffgraph` by being here. It has ``app``, a `typer.Typer` whose commands join the
others; if that app has a name, the name joins and its commands come under it. ``POSITION`` is the module's place in
``--help``; those without one come last. Whatever loads more than typer and rich is imported inside the command that
needs it, so ``--help`` answers at once.
"""

from __future__ import annotations

import importlib
import pkgutil

import typer


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the commands of every module here."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    for module in sorted(modules, key=lambda m: (getattr(m, "POSITION", 1_000), m.__name__)):
        group: typer.Typer = module.app
        if isinstance(group.info.name, str):
            app.add_typer(group)
        else:
            app.registered_commands += group.registered_commands
