"""Textual inversions: read and checked, put into a pipeline, never merged."""

from __future__ import annotations

import pytest
import torch
from diffusers import StableDiffusionPipeline

from diffgraph.bases.index import BaseIndex
from diffgraph.errors import ExpertError, UserError
from diffgraph.files.header import TensorInfo, read_header
from diffgraph.merging.formats import read_expert
from diffgraph.merging.formats.detect import kind_and_rank
from diffgraph.merging.formats.textual_inversion import read_embedding

WIDTHS = {"text_encoder": 768, "text_encoder_2": 1280}


def index(**tables):
    """A base that is only names and shapes: encoder -> (name of its table, width)."""
    params = {f"{e}.{name}": (None, name, TensorInfo("F32", (9, width), 0, 0)) for e, (name, width) in tables.items()}
    return BaseIndex(None, "unet", dict.fromkeys(tables, ()), params)


CLIP = "embeddings.token_embedding.weight"
SDXL = index(text_encoder=(CLIP, 768), text_encoder_2=(CLIP, 1280))
SD3 = index(text_encoder=(CLIP, 768), text_encoder_2=(CLIP, 1280), text_encoder_3=("shared.weight", 4096))


def test_one_encoder_in_each_spelling(world):
    vectors = torch.randn(2, 8)
    for name, tensors, token in [
        ("owl", {"emb_params": vectors}, "owl"),
        ("b", {"<owl>": vectors}, "<owl>"),
        ("c", {"clip_l": vectors.half()}, "c"),
        ("d", {"text_encoders_0": vectors}, "d"),
    ]:
        path = world.write(name, tensors)
        assert kind_and_rank(read_header(path)).kind == "textual_inversion"
        found = read_embedding(path, world.base)
        assert (found.token, found.tokens) == (token, (token, f"{token}_1"))
        assert torch.equal(found.vectors["text_encoder"], next(iter(tensors.values())).float())
    single = read_embedding(world.write("single", {"emb_params": vectors[0]}), world.base, "<x>")
    assert single.tokens == ("<x>",)
    assert single.vectors["text_encoder"].shape == (1, 8)


def test_several_encoders(world):
    both = {"clip_l": torch.randn(3, 768), "clip_g": torch.randn(3, 1280)}
    found = read_embedding(world.write("sdxl", both), SDXL)
    assert {encoder: tuple(v.shape) for encoder, v in found.vectors.items()} == {
        encoder: (3, width) for encoder, width in WIDTHS.items()
    }
    third = both | {"t5xxl": torch.randn(3, 4096)}
    assert set(read_embedding(world.write("sd3", third), SD3).vectors) == {*WIDTHS, "text_encoder_3"}
    by_width = read_embedding(world.write("one", {"emb_params": torch.randn(1, 1280)}), SDXL)
    assert set(by_width.vectors) == {"text_encoder_2"}


REFUSED = {
    "width": ({"emb_params": torch.ones(2, 9)}, "another family"),
    "encoder": ({"clip_g": torch.ones(2, 8)}, "another family"),
    "numbers": ({"clip_l": torch.ones(2, 768), "clip_g": torch.ones(3, 1280)}, r"\[2, 3\] vectors"),
    "none": ({"emb_params": torch.ones(0, 8)}, "no vectors"),
    "many": ({"emb_params": torch.ones(129, 8)}, r"\[129\] vectors"),
    "integers": ({"emb_params": torch.ones(2, 8, dtype=torch.int32)}, "no vectors but I32"),
    "NaN": ({"emb_params": torch.full((2, 8), torch.nan)}, "NaN"),
    "twice": ({"clip_l": torch.ones(2, 768), "emb_params": torch.ones(2, 768)}, "two tensors"),
    "other": ({"a.lora_A.weight": torch.ones(2, 8)}, "no textual inversion"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(world, case):
    tensors, message = REFUSED[case]
    path = world.write("bad", tensors)
    with pytest.raises(ExpertError, match=message) as caught:
        read_embedding(path, SDXL if any(t.shape[-1] > 9 for t in tensors.values()) else world.base)
    assert caught.value.path == str(path)
    assert caught.value.keys


def test_which_of_two_equal_encoders_is_asked(world):
    twins = index(text_encoder=(CLIP, 8), text_encoder_2=(CLIP, 8))
    with pytest.raises(ExpertError, match="which of them"):
        read_embedding(world.write("x", {"emb_params": torch.ones(1, 8)}), twins)


def test_it_is_no_delta_and_the_message_says_what_to_do(world):
    with pytest.raises(ExpertError, match=r"nothing to merge; load it .*read_embedding"):
        read_expert(world.write("x", {"<owl>": torch.ones(1, 8)}), world.base)


def test_a_pipeline_speaks_the_token(world):
    pipe = StableDiffusionPipeline.from_pretrained(world.base_dir, safety_checker=None)
    before = pipe.text_encoder.get_input_embeddings().weight.detach().clone()
    found = read_embedding(world.write("x", {"<owl>": torch.randn(2, 8)}), world.base)
    found.add_to(pipe)
    after = pipe.text_encoder.get_input_embeddings().weight.detach()
    assert torch.equal(after[: len(before)], before)
    ids = pipe.tokenizer(pipe.maybe_convert_prompt("a, <owl>", pipe.tokenizer)).input_ids
    rows = [i for i in ids if i >= len(before)]
    assert torch.equal(after[rows], found.vectors["text_encoder"])
    with pytest.raises(UserError, match="already"):
        found.add_to(pipe)
    with pytest.raises(UserError, match="cannot take"):
        found.add_to(object())
