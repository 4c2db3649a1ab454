"""The recipe inside the image, and files that appear whole or not at all."""

from __future__ import annotations

import json
import os

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from diffgraph.errors import UserError
from diffgraph.files import atomic
from diffgraph.files.atomic import write_bytes
from diffgraph.merging.plan.merge_plan import MergePlan, Method, PlanBase, PlanExpert
from diffgraph.merging.sampling.a1111_text import parameters
from diffgraph.merging.sampling.png_record import KEY, read_plan, read_png, save_png


@pytest.fixture
def plan():
    return MergePlan(
        base=PlanBase(ref="emoji-base", family="emoji", sha256="ab" * 32),
        experts=(
            PlanExpert(id="world/sea-life", ref="r", sha256="cd" * 32, weight=0.8, trigger="octopus"),
            PlanExpert(id="world/ink:v2", ref="r", sha256="ef" * 32, facet="style"),
        ),
        method=Method(name="np_lora", params={"mu": 0.5}),
        prompt="octopus, ink style\nnaïve 🐙",
        negative_prompt="blurred",
        seeds=(3, 4),
    )


@pytest.fixture
def image():
    return Image.frombytes("RGB", (8, 4), bytes(range(96)))


def test_a_saved_image_gives_its_plan_seed_and_pixels_back(tmp_path, plan, image):
    save_png(image, tmp_path / "a.png", plan, 4, {"score": 0.5})
    record = read_png(tmp_path / "a.png")
    assert (record.plan, record.seed, record.extra) == (plan, 4, {"score": 0.5})
    assert read_plan(tmp_path / "a.png").plan_id == plan.plan_id
    assert Image.open(tmp_path / "a.png").tobytes() == image.tobytes()


def test_equal_input_gives_equal_bytes(tmp_path, plan, image):
    for name in "ab":
        save_png(image, tmp_path / f"{name}.png", plan, 3, {"x": 1, "y": [2]})
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_parameters_text_is_in_the_form_that_others_read(tmp_path, plan, image):
    save_png(image, tmp_path / "a.png", plan, 3)
    with Image.open(tmp_path / "a.png") as opened:
        text = opened.text["parameters"]
    assert text == parameters(plan, 3, (8, 4))
    prompt, negative, line = text.split("\n")
    assert prompt == "octopus, ink style naïve 🐙 <lora:sea-life:0.8> <lora:ink_v2:1>"
    assert negative == "Negative prompt: blurred"
    assert line.startswith("Steps: 16, Sampler: default, CFG scale: 3, Seed: 3, Size: 8x4, Model hash: ababababab")
    assert f'Lora hashes: "sea-life: {"cd" * 5}, ink_v2: {"ef" * 5}"' in line


def test_a_seed_that_the_plan_lacks_and_extras_that_are_no_json_are_bugs(tmp_path, plan, image):
    with pytest.raises(ValueError, match="seed 9"):
        save_png(image, tmp_path / "a.png", plan, 9)
    with pytest.raises(ValueError, match="JSON"):
        save_png(image, tmp_path / "a.png", plan, 3, {"score": float("nan")})
    assert list(tmp_path.iterdir()) == []


def tampered(path, image, text):
    info = PngInfo()
    info.add_text(KEY, text)
    image.save(path, pnginfo=info)
    return path


def test_images_that_are_not_ours_or_were_edited_are_refused(tmp_path, plan, image):
    path = tmp_path / "a.png"
    save_png(image, path, plan, 3)
    record = json.loads(Image.open(path).text[KEY])
    for change, message in [
        ({"plan": record["plan"] | {"prompt": "tax law"}}, "does not fit its own hash"),
        ({"seed": 99}, "does not fit its own hash"),
        ({"extra": []}, "does not fit its own hash"),
        ({"plan": {"version": 9}}, "cannot be read"),
        ({"pixels_sha256": "0" * 64}, "pixels"),
    ]:
        with pytest.raises(UserError, match=message):
            read_png(tampered(tmp_path / "b.png", image, json.dumps(record | change)))
    for text in ("{", "[]", "[" * 10_000, "{}", "x" * 2**21):
        with pytest.raises(UserError, match="cannot be read"):
            read_png(tampered(tmp_path / "b.png", image, text))
    image.save(tmp_path / "plain.png")
    with pytest.raises(UserError, match="no DiffGraph plan"):
        read_png(tmp_path / "plain.png")
    image.save(tmp_path / "c.jpg")
    (tmp_path / "cut.png").write_bytes(path.read_bytes()[:-40])
    for name in ("c.jpg", "cut.png", "gone.png"):
        with pytest.raises(UserError, match="cannot be read as a PNG"):
            read_png(tmp_path / name)


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    for step in ("fsync", "replace"):

        def stop(*args):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(atomic.os, step, stop)
            with pytest.raises(KeyboardInterrupt):
                write_bytes(path, b"new")
        assert path.read_bytes() == b"old"
        assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_full_disk_or_a_missing_folder_is_a_sentence(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="No such file or directory"):
        write_bytes(tmp_path / "nowhere" / "a.bin", b"")

    def full(*args):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(UserError, match="No space left"):
        write_bytes(tmp_path / "a.bin", b"x")
    assert list(tmp_path.iterdir()) == []
