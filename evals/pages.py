"""HTML pages of evaluations, from the templates beside this file."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def page(template: str, **values: object) -> str:
    """A template filled in, all values escaped. A name that the template asks for and nobody gives is an error."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template(template).render(**values)
