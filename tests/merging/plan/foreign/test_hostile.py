"""Whatever strangers write: a recipe or a sentence, never a traceback; and the recipe can be saved and shown."""

from __future__ import annotations

import contextlib
import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffgraph.errors import UserError
from diffgraph.merging.plan.foreign import values
from diffgraph.merging.plan.foreign.image_text import ImageTexts, read_texts
from diffgraph.merging.plan.foreign.reader import read_recipe, readers, recipe_in
from diffgraph.merging.plan.foreign.recipe import ForeignRecipe

KEYS = (
    "parameters", "prompt", "workflow", "comment", "Comment", "Description", "invokeai_metadata", "sd-metadata",
    "Dream", "fooocus_scheme", "sui_image_params", "diffgraph", "Software",
)  # fmt: skip
WORDS = st.sampled_from(
    [
        "prompt", "positive", "negative", "model", "clip", "steps", "cfg", "seed", "loras", "weight", "lora_name",
        "name", "strength_model", "sampler_name", "latent_image", "width", "height", "image", "plan",
        "sui_image_params", "hash", "full_prompt", "base_model", "resolution", "v4_prompt", "caption", "uc", "scale",
        "text", "ckpt_name", "extra", "extraMetadata", "airs", "resources", "__value__", "lora_1", "on",
        "lora", "pipe", "guider",
    ]
)  # fmt: skip
ODD = ["None", "-1", "1e400", "9" * 5000, "\ud800", "<lora:x:1>", "embedding:y", "(1024, 1024)", "\x00\x1b[31m"]
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), WORDS, st.sampled_from(ODD)
)
FIELDS = st.one_of(WORDS, st.text(max_size=8))
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(FIELDS, inner, max_size=6)),
    max_leaves=40,
)
KINDS = st.sampled_from(
    [
        "KSampler", "SamplerCustomAdvanced", "CLIPTextEncode", "LoraLoader", "CheckpointLoaderSimple", "LoraTagLoader",
        "ConditioningCombine", "ConditioningZeroOut", "EmptyLatentImage", "Power Lora Loader (rgthree)", "", "ShowText",
    ]
)  # fmt: skip
IDS = st.integers(0, 9).map(str)
LINKS = st.tuples(st.one_of(IDS, st.integers(0, 9)), st.integers(0, 3)).map(list)
INPUTS = st.dictionaries(WORDS, st.one_of(LINKS, LINKS, LEAVES, TREES), max_size=10)
NODES = st.fixed_dictionaries({"class_type": st.one_of(KINDS, TREES), "inputs": INPUTS})
GRAPHS = st.dictionaries(IDS, NODES, min_size=1, max_size=10)
SIGNS = list('Steps: 12,"[]{}\\<lora:x>\n negative prompt:NSeed()Model hash=-.é\ud800')


def sound(texts: dict[str, str]) -> ForeignRecipe | None:
    found = recipe_in(ImageTexts(texts))
    if found is not None:
        again = ForeignRecipe.model_validate_json(found.model_dump_json())
        assert json.dumps(again.model_dump(mode="json"), allow_nan=False)
        assert all(len(one.name) <= values.MAX_NAME for one in found.experts)
        assert all(one.weight is None or abs(one.weight) <= 100 for one in found.experts)
        assert len(found.prompt) <= values.MAX_TEXT + 200
        assert len(found.extras) < 400
    return found


@settings(deadline=None, max_examples=150)
@given(key=st.sampled_from(KEYS), tree=TREES)
def test_any_tree_under_any_key(key: str, tree: Any) -> None:
    sound({key: json.dumps(tree)})


@settings(deadline=None, max_examples=300)
@given(graph=GRAPHS)
def test_any_graph(graph: Any) -> None:
    sound({"prompt": json.dumps(graph)})


@settings(deadline=None, max_examples=150)
@given(
    said=st.dictionaries(st.sampled_from(["a", "b", "prompt", "loras", "seed", "model", "steps"]), TREES, max_size=6)
)
def test_any_values_in_the_fields_that_are_read(said: Any) -> None:
    sound({"invokeai_metadata": json.dumps(said)})
    sound({"parameters": json.dumps({"sui_image_params": said, "sui_models": said.get("loras")})})
    sound(
        {"parameters": json.dumps(said | {"full_prompt": said.get("a"), "base_model": 1}), "fooocus_scheme": "fooocus"}
    )
    sound({"Comment": json.dumps(said | {"uc": 1, "scale": 2, "v4_prompt": said.get("b")})})
    sound({"sd-metadata": json.dumps({"image": said})})


@settings(deadline=None, max_examples=300)
@given(
    text=st.text(
        st.sampled_from(list('Steps: 12,"[]{}\\<lora:x>\n negative prompt:NSeed()Model hash=-.é\ud800')), max_size=200
    )
)
def test_any_settings(text: str) -> None:
    for line in (text, f"{text}\nSteps: 3, {text}", f'x <lora:{text}:1>\nSteps: 3, Lora hashes: "{text}"'):
        sound({"parameters": line})
        sound({"Dream": line})


def test_deep_and_wide_documents_take_little_time() -> None:
    deep = '{"a":' * 100_000 + "1" + "}" * 100_000
    size = 5_000
    steps = {"positive": 7, "model": 1, "text": 3, "latent_image": 3, "steps": 5}
    ring = {
        str(i): {
            "class_type": "KSampler",
            "inputs": {field: [str((i * step + 1) % size), 0] for field, step in steps.items()},
        }
        for i in range(size)
    }
    wide = {
        "1": {"class_type": "KSampler", "inputs": {"positive": ["1", 0]} | {f"lora_{i}": "x" for i in range(100_000)}}
    }
    start = time.perf_counter()
    assert recipe_in(ImageTexts({"prompt": deep})) is None
    assert sound({"prompt": json.dumps(ring)}) is not None
    assert sound({"prompt": json.dumps(wide)}) is not None
    assert time.perf_counter() - start < 30


@pytest.mark.parametrize("seed", range(40))
def test_flipped_and_cut_bytes_of_real_files(tmp_path: Path, seed: int) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    chance = random.Random(seed)
    info = PngInfo()
    info.add_text("parameters", "x <lora:a:1>\nSteps: 3, Seed: 1", zip=bool(seed % 2))
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + "x\nSteps: 3, Seed: 1".encode("utf-16-be")
    ending = ("png", "jpg", "webp")[seed % 3]
    path = tmp_path / f"a.{ending}"
    Image.new("RGB", (8, 8)).save(path, exif=exif, **({"pnginfo": info} if ending == "png" else {}))
    data = bytearray(path.read_bytes())
    for _ in range(chance.randint(1, 12)):
        data[chance.randrange(8, len(data))] = chance.randrange(256)
    path.write_bytes(data[: chance.randint(20, len(data))] if seed % 5 == 0 else data)
    with contextlib.suppress(UserError):
        read_texts(path)
        read_recipe(path)


def test_every_reader_registers_itself_and_one_more_would_be_one_file() -> None:
    titles = [one.title for one in readers()]
    assert titles[0] == "DiffGraph"
    assert titles[-1] == "A1111 and Forge"
    assert len(titles) == 7
