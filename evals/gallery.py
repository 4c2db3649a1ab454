"""The README's picture, from the newest run of ``compose``: ``python -m diffgraph.evals.gallery OUT.png [FOLDER]``.

Nothing is hand-picked: prompts lie evenly spread over each group, and every image is that of the first seed.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ..errors import UserError
from ..files.atomic import write_bytes
from ..settings import Settings

ARMS = {"base": "base alone", "best_single": "best single expert", "concat_sum": "plain sum", "ours": "DiffGraph"}
GROUPS = ("subject+style", "subject+background", "subject+style+background")
EACH = 3
SIDE, GAP, LEFT, TOP = 128, 8, 300, 34
PAPER, INK, GOOD, BAD = (255, 255, 255), (29, 28, 26), (46, 125, 79), (200, 196, 188)


def rows_of(log: Sequence[Mapping[str, Any]], arms: Sequence[str]) -> list[list[Mapping[str, Any]]]:
    """One line a prompt, one log row an arm; only prompts that every arm has answered with its first seed."""
    seed = min((r["seed"] for r in log), default=0)
    at = {(r["item"], r["arm"]): r for r in log if r["seed"] == seed and "image" in r}
    lines = []
    for group in GROUPS:
        items = list(dict.fromkeys(r["item"] for r in log if r["group"] == group))
        items = [i for i in items if all((i, a) in at for a in arms)]
        count = min(EACH, len(items))
        lines += [[at[items[k * len(items) // count], a] for a in arms] for k in range(count)]
    return lines


def sheet(folder: Path, lines: Sequence[Sequence[Mapping[str, Any]]], titles: Sequence[str]) -> Image.Image:
    """Prompts on the left, an arm a column; a green frame where the judge finds all that the prompt asks for."""
    width, height = LEFT + len(titles) * (SIDE + GAP), TOP + len(lines) * (SIDE + GAP)
    paper = Image.new("RGB", (width, height), PAPER)
    pen, font = ImageDraw.Draw(paper), ImageFont.load_default(size=15)
    for column, title in enumerate(titles):
        pen.text((LEFT + column * (SIDE + GAP) + SIDE / 2, TOP / 2), title, INK, font, anchor="mm")
    for line, cells in enumerate(lines):
        y = TOP + line * (SIDE + GAP)
        pen.multiline_text((8, y + SIDE / 2), cells[0]["prompt"].replace(", ", ",\n"), INK, font, anchor="lm")
        for column, cell in enumerate(cells):
            x = LEFT + column * (SIDE + GAP)
            with Image.open(folder / cell["image"]) as image:
                shown = image.convert("RGB").resize((SIDE - 6, SIDE - 6), Image.Resampling.NEAREST)
            pen.rectangle((x, y, x + SIDE - 1, y + SIDE - 1), GOOD if cell["joint"] else BAD)
            paper.paste(shown, (x + 3, y + 3))
    return paper


def main(arguments: Sequence[str]) -> None:
    """Write the picture. Raises UserError if ``compose`` has not run with the arms that are shown."""
    out = Path(arguments[0])
    root = Path(arguments[1]) if len(arguments) > 1 else Settings().root / "evals"
    logs = sorted(root.glob("compose-*/log.jsonl"), key=lambda p: p.stat().st_mtime)
    log = [json.loads(line) for line in logs[-1].read_text(encoding="utf-8").splitlines()] if logs else []
    lines = rows_of(log, list(ARMS))
    if not lines:
        raise UserError(f"{root} holds no run of compose with {', '.join(ARMS)}: run `make eval SUITE=compose` first.")
    buffer = io.BytesIO()
    sheet(logs[-1].parent, lines, list(ARMS.values())).quantize(256).save(buffer, "PNG", optimize=True)
    write_bytes(out, buffer.getvalue())


if __name__ == "__main__":
    main(sys.argv[1:])
