"""An image made again from its own file."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from diffgraph.errors import PlanError, UserError
from diffgraph.merging.engine.engine import Engine
from diffgraph.merging.plan.merge_plan import Switch
from diffgraph.merging.sampling.batch import Batch, batch_in, is_repeatable
from diffgraph.merging.sampling.pipeline import draw_all, render, render_seed
from diffgraph.merging.sampling.png_record import KEY, libraries, save_png
from diffgraph.merging.sampling.replay import replay

HERE = {"device": "cpu", "dtype": "float32", "batch": 1}


@pytest.fixture
def drawn(world, engine, tmp_path):
    """A plan of two seeds with a schedule, and the file of its second image."""
    experts = [world.expert("owl"), world.expert("ink", 0.7, "style")]
    plan = world.plan(*experts, seeds=(3, 4), method="ties", schedule=Switch(every=2))
    image = render(engine, plan, world.locate)[1]
    save_png(image, tmp_path / "a.png", plan, 4, HERE)
    return plan, tmp_path / "a.png"


def test_a_fresh_engine_makes_the_same_pixels(world, drawn):
    plan, path = drawn
    steps = []
    done = replay(path, Engine(world.base_dir, device="cpu"), world.locate, lambda at, total: steps.append((at, total)))
    assert (done.equal, done.differing, done.largest, done.reasons) == (True, 0, 0, ())
    assert "every pixel is the same (8x8, seed 4)" in done.sentence()
    assert steps[-1] == (3, 3)
    assert done.record.plan == plan
    assert done.record.made_with == libraries()


def test_images_of_a_batch_replay_to_the_bit_whatever_their_place(world, tmp_path):
    owl = world.expert("owl")
    plans = [
        world.plan(owl, prompt=text, seeds=(1, 2), negative_prompt="dog") for text in ("an owl", "a cat", "an owl")
    ]
    here = Engine(world.base_dir, device="cpu")
    drawn = draw_all(here, plans, world.locate, batch_size=5)
    sizes = []
    for number, (plan, images) in enumerate(zip(plans, drawn, strict=True)):
        for seed, (image, batch) in zip(plan.seeds, images, strict=True):
            path = tmp_path / f"{number}-{seed}.png"
            save_png(image, path, plan, seed, {"device": "cpu", "dtype": "float32"} | batch.recorded())
            done = replay(path, Engine(world.base_dir, device="cpu"), world.locate)
            assert (done.equal, done.reasons) == (True, ())
            assert is_repeatable(done.record.extra)
            sizes.append(len(batch.images))
    assert sizes == [5] * 5 + [1]


def test_a_batch_that_does_not_fit_the_image_is_not_drawn(world, engine, drawn, tmp_path):
    plan, path = drawn
    whole = Batch(images=((plan.prompt, "", 4), ("another", "", 9)), at=1)
    assert batch_in(whole.recorded(), (plan.prompt, "", 4)) is None
    for broken in ({"images": []}, {"images": [["a", "b", 1]], "at": 3}, "all of them", None):
        assert batch_in({"batch": 2, "drawn_with": broken}, (plan.prompt, "", 4)) is None
    assert not is_repeatable({"batch": 16})
    with Image.open(path) as image:
        save_png(image, tmp_path / "b.png", plan, 4, HERE | {"batch": 16})
    assert "batches of up to 16" in " ".join(replay(tmp_path / "b.png", engine, world.locate).reasons)


def test_other_pixels_are_counted_and_what_changed_is_named(world, engine, drawn, tmp_path):
    plan = drawn[0]
    other = render_seed(engine, plan, 3, world.locate)
    save_png(other, tmp_path / "b.png", plan, 4, HERE | {"device": "cuda", "batch": 8})
    with Image.open(tmp_path / "b.png") as image:
        record = json.loads(image.text[KEY])
        record["made_with"]["torch"] = "1.0"
        info = PngInfo()
        info.add_text(KEY, json.dumps(record))
        image.save(tmp_path / "c.png", pnginfo=info)
    done = replay(tmp_path / "c.png", engine, world.locate)
    assert not done.equal
    assert done.differing > 0
    assert 0 < done.largest <= 255
    assert [reason.split()[0] for reason in done.reasons] == ["torch", "device", "it"]
    assert f"{done.differing} pixels differ" in done.sentence()
    save_png(other.resize((16, 8)), tmp_path / "d.png", plan, 4)
    wide = replay(tmp_path / "d.png", engine, world.locate)
    assert (wide.equal, wide.differing) == (False, 64)
    assert "does not say on which device" in wide.sentence()


def test_another_base_another_expert_or_an_edited_image_is_refused(world, engine, drawn, tmp_path):
    plan, path = drawn
    elsewhere = plan.model_copy(update={"base": plan.base.model_copy(update={"sha256": "0" * 64})})
    save_png(Image.new("RGB", (8, 8)), tmp_path / "x.png", elsewhere, 3)
    with pytest.raises(PlanError, match="the plan is for base tiny"):
        replay(tmp_path / "x.png", engine, world.locate)
    world.add("ink", world.paths["owl"])
    with pytest.raises(PlanError, match="expert ink is not the one in the plan"):
        replay(path, engine, world.locate)
    with Image.open(path) as image:
        image.load()
        image.putpixel((0, 0), (1, 2, 3))
        info = PngInfo()
        info.add_text(KEY, image.text[KEY])
        image.save(path, pnginfo=info)
    with pytest.raises(UserError, match="it was edited"):
        replay(path, engine, world.locate)


def test_a_seed_that_the_plan_lacks_is_a_plan_error(world, engine):
    with pytest.raises(PlanError, match="seed 9 is none"):
        render_seed(engine, world.plan(), 9, world.locate)
