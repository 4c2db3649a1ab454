"""The README's picture shows what a run of compose drew, in order, first seed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from diffgraph.errors import UserError
from diffgraph.evals import gallery


def test_the_picture_shows_each_arm_of_evenly_spread_prompts(tmp_path: Path) -> None:
    folder = tmp_path / "compose-abc"
    rows = []
    for n, arm in enumerate(gallery.ARMS):
        for seed in (1, 0):
            for i in range(6):
                name = f"{arm}-{i}-{seed}.png"
                folder.mkdir(exist_ok=True)
                Image.new("RGB", (8, 8), (40 * n, 40 * i, 100 * seed)).save(folder / name)
                rows.append({"arm": arm, "item": f"x/{i}", "group": "subject+style", "seed": seed})
                rows[-1] |= {"image": name, "joint": arm == "ours", "prompt": f"thing {i}, neon style"}
    (folder / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    out = tmp_path / "picture.png"
    gallery.main([str(out), str(tmp_path)])
    with Image.open(out) as image:
        shown = image.convert("RGB")
    step, middle = gallery.SIDE + gallery.GAP, gallery.SIDE // 2
    for line, item in enumerate((0, 2, 4)):
        for column in range(len(gallery.ARMS)):
            x, y = gallery.LEFT + column * step, gallery.TOP + line * step
            seen = shown.getpixel((x + middle, y + middle))
            assert isinstance(seen, tuple)
            assert max(abs(a - b) for a, b in zip(seen, (40 * column, 40 * item, 0), strict=True)) <= 6
            frame = shown.getpixel((x + 1, y + 1))
            assert isinstance(frame, tuple)
            assert (frame[0] < 100) == (column == len(gallery.ARMS) - 1)


def test_without_a_run_it_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run of compose"):
        gallery.main([str(tmp_path / "x.png"), str(tmp_path)])
