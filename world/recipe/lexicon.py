"""Names of things in eight languages, from the names that emoji have in them (emojibase, Unicode CLDR)."""

from __future__ import annotations

import json
from pathlib import Path

LANGUAGES = ("de", "fr", "es", "it", "pt", "ru", "ja", "zh")
_THINGS = (3, 4, 5, 6, 7)
"""Emojibase's groups of animals, food, places, activities and objects."""


def things(modules: Path, subjects: list[str]) -> dict[str, dict[str, str]]:
    """Language -> name -> English name, of all things that emoji show, and of the world's subjects."""
    folder = modules / "emojibase-data"
    english = {e["hexcode"]: e for e in json.loads((folder / "en" / "data.json").read_text(encoding="utf-8"))}
    kept = {h: e["label"] for h, e in english.items() if e["label"] in subjects or e.get("group") in _THINGS}
    found: dict[str, dict[str, str]] = {}
    for language in LANGUAGES:
        entries = json.loads((folder / language / "data.json").read_text(encoding="utf-8"))
        names = {e["hexcode"]: e["label"] for e in entries if e["hexcode"] in kept}
        ranked = sorted(names, key=lambda h: (kept[h] not in subjects, h))
        listed: dict[str, str] = {}
        for code in ranked:
            listed.setdefault(names[code].casefold(), kept[code])
        found[language] = dict(sorted(listed.items()))
    return found


def write(modules: Path, subjects: list[str], file: Path) -> None:
    """Write them, one language a line."""
    rows = [f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in things(modules, subjects).items()]
    file.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
