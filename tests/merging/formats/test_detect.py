"""One detector tells the kind and the rank of a file, for whoever registers it and for whoever merges it."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from diffgraph.errors import ExpertError
from diffgraph.files.header import read_header
from diffgraph.graph.experts.registration import register as register_experts
from diffgraph.graph.experts.sources.folder import Folder
from diffgraph.merging.formats.detect import detect, kind_and_rank, kinds
from diffgraph.merging.formats.format import Format
from diffgraph.merging.formats.read import read_expert


@pytest.mark.parametrize(
    ("keys", "kind", "rank"),
    [
        (["unet.x.lora_A.weight", "unet.x.lora_B.weight"], "lora", 2),
        (["lora_unet_x.lora_down.weight", "lora_unet_x.lora_up.weight", "lora_unet_x.alpha"], "lora", 2),
        (["x.lora_A.weight", "x.lora_B.weight", "x.lora_magnitude_vector"], "dora", 2),
        (["lora_unet_x.lora_down.weight", "lora_unet_x.lora_up.weight", "lora_unet_x.dora_scale"], "dora", 2),
        (["lora_unet_x.hada_w1_a", "lora_unet_x.hada_w1_b"], "loha", 2),
        (["lora_unet_x.lokr_w1", "lora_unet_x.lokr_w2"], "lokr", None),
        (["lora_unet_x.oft_blocks"], "oft", None),
        (["lora_unet_x.diff", "lora_unet_x.diff_b", "lora_unet_y.w_norm"], "full", None),
        (["lora_unet_x.diff_b"], "full", None),
        (["emb_params"], "textual_inversion", None),
        (["conv_in.weight", "down_blocks.0.resnets.0.conv1.weight"], "checkpoint", None),
        (["model.diffusion_model.input_blocks.0.0.weight"], "checkpoint", None),
    ],
)
def test_the_kind_is_told_from_names_alone(tmp_path, keys, kind, rank):
    save_file({key: torch.ones(2, 2) for key in keys}, tmp_path / "x.safetensors")
    assert kind_and_rank(read_header(tmp_path / "x.safetensors")) == (kind, rank)


def test_unknown_and_mixed_kinds_are_refused_with_their_keys(tmp_path):
    save_file({"what.is_this": torch.ones(2)}, tmp_path / "x.safetensors")
    with pytest.raises(ExpertError, match=r"what\.is_this"):
        detect(read_header(tmp_path / "x.safetensors"))
    mixed = ["x.lora_A.weight", "x.lora_B.weight", "x.hada_w1_a"]
    save_file({key: torch.ones(2, 2) for key in mixed}, tmp_path / "y.safetensors")
    with pytest.raises(ExpertError, match="mixes"):
        detect(read_header(tmp_path / "y.safetensors"))


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        (["lora_unet_x.a1.weight", "lora_unet_x.a2.weight", "lora_unet_x.b1.weight", "lora_unet_x.b2.weight"], "GLoRA"),
        (["lora_unet_x.weight", "lora_unet_x.on_input"], "IA"),
        (["base_model.model.x.ia3_l"], "IA"),
        (["base_model.model.x.ia3_l.default"], "IA"),
        (["lora_unet_x.a1", "lora_unet_x.a2", "lora_unet_x.alpha"], "GLoRA"),
        (["x.vera_lambda_b", "x.vera_lambda_d"], "VeRA"),
        (["unet.x.boft_R", "unet.x.boft_s"], "BOFT"),
        (["ip_adapter.1.to_k_ip.weight", "image_proj.norm.weight"], "IP-Adapter"),
    ],
)
def test_kinds_that_are_not_understood_are_called_by_their_name(tmp_path, keys, name):
    save_file({key: torch.ones(2, 2) for key in keys}, tmp_path / "x.safetensors")
    with pytest.raises(ExpertError, match=name):
        kind_and_rank(read_header(tmp_path / "x.safetensors"))


def test_a_kind_that_is_mixed_in_is_called_by_its_name(world):
    path = world.write("mixed", world.tensors("ink") | {"unet.conv_in.ia3_l": torch.ones(3)})
    with pytest.raises(ExpertError, match=r"not understood \(they are \(IA\)³\): unet.conv_in.ia3_l"):
        read_expert(path, world.base)


BUILT_IN = {"lora", "locon", "loha", "lokr", "dora", "oft", "full", "checkpoint", "textual_inversion"}


class Slider(Format):
    """A format of somebody else, with a kind of its own."""

    name = "slider"

    def detect(self, header):
        return "slider" if all(key.endswith(".slide") for key in header.keys) else None

    def rank(self, header):
        return 1

    def targets(self, files, base):
        return {}

    def read(self, files, base):
        return {}


def test_a_format_of_somebody_else_brings_a_kind_that_scouts_register(tmp_path, monkeypatch):
    from diffgraph.merging.formats import format as module

    assert kinds() == BUILT_IN
    save_file({"x.slide": torch.ones(2, 2)}, tmp_path / "x.safetensors")
    with pytest.raises(ExpertError, match="no known expert kind"):
        register_experts(Folder(tmp_path.parent), tmp_path.name)
    monkeypatch.setitem(module._REGISTRY._items, "slider", Slider())
    assert kinds() == BUILT_IN | {"slider"}
    (expert,) = register_experts(Folder(tmp_path.parent), tmp_path.name)
    assert (expert.kind, expert.rank) == ("slider", 1)
    assert type(expert).model_validate_json(expert.model_dump_json()) == expert


def test_a_kind_that_no_format_brings_is_refused(tmp_path, monkeypatch):
    from diffgraph.merging.formats import format as module

    class Odd(Slider):
        name = "odd"

    monkeypatch.setitem(module._REGISTRY._items, "odd", Odd())
    save_file({"x.slide": torch.ones(2, 2)}, tmp_path / "x.safetensors")
    with pytest.raises(ExpertError, match="no format brings such a kind"):
        detect(read_header(tmp_path / "x.safetensors"))


@pytest.mark.parametrize(
    ("parts", "low_rank"),
    [
        (("lora_A.weight", "lora_B.weight"), True),
        (("lora_down.weight", "lora_up.weight", "alpha"), True),
        (("lora_A.weight", "lora_B.weight", "lora_magnitude_vector"), False),
        (("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), False),
        (("diff",), False),
    ],
)
def test_a_format_says_whether_it_stays_in_factors(tmp_path, parts, low_rank):
    save_file({f"unet.x.{part}": torch.ones(2, 2) for part in parts}, tmp_path / "x.safetensors")
    header = read_header(tmp_path / "x.safetensors")
    assert detect(header)[0].low_rank(header) is low_rank
