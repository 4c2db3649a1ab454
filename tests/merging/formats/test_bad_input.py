"""Adapters that are damaged, or that mean something that is not understood: each is refused by name, with its keys."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from diffgraph.errors import ExpertError
from diffgraph.files.header import read_header
from diffgraph.merging.formats import read_expert
from diffgraph.merging.formats.detect import kind_and_rank

Q = "lora_unet_transformer_blocks_0_attn_to_q"  # 16 x 16
TARGET = "transformer.transformer_blocks.0.attn.to_q.weight"


def ones(*shape):
    return torch.ones(shape)


def named(**parts):
    return {f"{Q}.{part.replace('__', '.')}": tensor for part, tensor in parts.items()}


LORA = named(lora_down__weight=ones(2, 16), lora_up__weight=ones(16, 2))
LOHA = named(hada_w1_a=ones(16, 2), hada_w1_b=ones(2, 16), hada_w2_a=ones(16, 2), hada_w2_b=ones(2, 16))
LOKR = named(lokr_w1=ones(4, 4), lokr_w2_a=ones(4, 2), lokr_w2_b=ones(2, 4))
OFT = named(oft_blocks=ones(4, 4, 4), alpha=torch.tensor(0.0))


def without(tensors, part):
    return {key: tensor for key, tensor in tensors.items() if not key.endswith(part)}


REFUSED = {
    "LoHa: half of a pair": (without(LOHA, "hada_w2_b"), "lacks hada_w2_b"),
    "LoHa: ranks differ": (LOHA | named(hada_w1_b=ones(3, 16)), "different rank"),
    "LoHa: shapes differ": (LOHA | named(hada_w2_a=ones(15, 2)), "different shapes"),
    "LoHa: rank 0": (LOHA | named(hada_w1_a=ones(16, 0), hada_w1_b=ones(0, 16)), "rank 0"),
    "LoHa: core alone fits not": (LOHA | named(hada_t1=ones(2, 2, 3, 3)), "tucker core"),
    "LoHa: of another family": (
        named(hada_w1_a=ones(9, 2), hada_w1_b=ones(2, 16), hada_w2_a=ones(9, 2), hada_w2_b=ones(2, 16)),
        "another family",
    ),
    "LoKr: no second factor": (named(lokr_w1=ones(4, 4)), "neither lokr_w2 alone nor both"),
    "LoKr: half of a factor": (without(LOKR, "lokr_w2_b"), "neither lokr_w2 alone nor both"),
    "LoKr: factor twice": (LOKR | named(lokr_w2=ones(4, 4)), "neither lokr_w2 alone nor both"),
    "LoKr: ranks differ": (LOKR | named(lokr_w2_b=ones(3, 4)), "different rank"),
    "LoKr: rank 0": (LOKR | named(lokr_w2_a=ones(4, 0), lokr_w2_b=ones(0, 4)), "rank 0"),
    "LoKr: one dimension": (LOKR | named(lokr_w1=ones(4)), "no LoKr"),
    "LoKr: unknown part": (LOKR | named(lokr_t1=ones(2, 2, 1, 1)), "not understood"),
    "LoKr: of another family": (LOKR | named(lokr_w1=ones(3, 4)), "another family"),
    "DoRA: magnitude of another length": (LORA | named(dora_scale=ones(15, 1)), "magnitude of shape"),
    "DoRA: magnitude of another shape": (LORA | named(dora_scale=ones(4, 4)), "magnitude of shape"),
    "DoRA: magnitude alone": (named(dora_scale=ones(16, 1)), "no known expert kind"),
    "DoRA: a bare vector is by output": (LORA | named(lora_magnitude_vector=ones(8)), "magnitude of shape"),
    "OFT: other size": (OFT | named(oft_blocks=ones(3, 4, 4)), "turns 12 outputs"),
    "OFT: no squares": (OFT | named(oft_blocks=ones(4, 4, 3)), "no OFT"),
    "OFT: butterfly": (OFT | named(oft_blocks=ones(2, 4, 4, 4)), "BOFT"),
    "OFT: not orthogonal": (named(oft_diag=ones(4, 4, 4)), "not orthogonal"),
    "OFT: PEFT without configuration": (named(oft_R__weight=ones(4, 6)), "without its configuration"),
    "OFT: no triangle": (named(oft_R__weight=ones(4, 5)), "no list of triangles"),
    "OFT: triangles of another size": (named(oft_R__weight=ones(3, 6)), "turns 3 x 4 inputs"),
    "OFT: old PEFT": (named(oft_r=ones(4, 4, 4), oft_s=ones(16, 1)), "before 0.15"),
    "OFT: with magnitude": (OFT | named(dora_scale=ones(16, 1)), "magnitude beside oft"),
    "OFT: negative alpha": (OFT | named(alpha=torch.tensor(-1.0)), "no turn"),
    "OFT: rescale of another length": (OFT | named(rescale=ones(15, 1)), "rescale of shape"),
    "full: alpha": (named(diff=ones(16, 16), alpha=torch.tensor(1.0)), "alpha beside the full difference"),
    "full: scalar": (named(diff=torch.tensor(1.0)), "without values"),
    "full: of another family": (named(diff=ones(16, 15)), "another family"),
    "full: bias of another length": (named(diff_b=ones(15)), "another family"),
    "full: two biases": (LORA | named(lora_up__bias=ones(16), diff_b=ones(16)), "bias of .* in two ways"),
    "two algorithms": (LORA | LOKR, "mixes lokr and lora"),
    "alpha alone": (named(alpha=torch.tensor(1.0)) | {f"{Q.replace('_q', '_k')}.diff": ones(16, 16)}, "nothing about"),
    "alpha 0": (LOHA | named(alpha=torch.tensor(0.0)), "alpha 0"),
    "alpha of NaN": (LOKR | named(alpha=torch.tensor(math.nan)), "NaN"),
    "NaN": (LOHA | named(hada_w1_a=torch.full((16, 2), math.nan)), "NaN"),
    "infinite": (LOKR | named(lokr_w1=torch.full((4, 4), math.inf)), "NaN or infinite"),
    "overflow": (LOHA | named(hada_w1_a=torch.full((16, 2), 3e38), alpha=torch.tensor(1e9)), "overflows"),
    "integers": (LOKR | named(lokr_w1=torch.ones(4, 4, dtype=torch.int8)), "I8"),
    "two spellings": (
        LORA | {"transformer.transformer_blocks.0.attn.to_q.lora_A.weight": ones(2, 16),
                "transformer.transformer_blocks.0.attn.to_q.lora_B.weight": ones(16, 2)},
        "two adapters",
    ),
    "fused and apart": (
        {
            "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": ones(2, 16),
            "lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight": ones(48, 2),
        } | LORA,
        "two adapters",
    ),
    "a word of nobody's": (LORA | {"emb_bundle.owl.string_to_param.*": ones(1, 12)}, "not understood"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_file_and_keys(family, tmp_path, case):
    tensors, message = REFUSED[case]
    path = tmp_path / "bad.safetensors"
    save_file({key: tensor.clone() for key, tensor in tensors.items()}, path)
    with pytest.raises(ExpertError, match=message) as caught:
        read_expert(path, family("flux1").base)
    assert caught.value.path == str(path)
    assert caught.value.keys


def test_relative_formats_need_the_weight_they_are_relative_to(family, write_file, tmp_path):
    for extra in (
        {"oft_blocks": ones(4, 4, 4)},
        {"dora_scale": ones(16, 1), "lora_down.weight": ones(2, 16), "lora_up.weight": ones(16, 2)},
    ):
        tensors = {f"transformer.transformer_blocks.9.attn.to_q.{part}": tensor for part, tensor in extra.items()}
        with pytest.raises(ExpertError, match="relative to a weight that this base lacks"):
            read_expert(write_file(tmp_path / "x.safetensors", tensors), family("flux1").base)


def test_a_small_file_cannot_claim_a_giant_weight(family, write_file, tmp_path):
    tensors = {f"transformer.nowhere.lokr_w{i}": ones(200, 200) for i in (1, 2)}
    with pytest.raises(ExpertError, match="claims a weight of 40000 x 40000"):
        read_expert(write_file(tmp_path / "x.safetensors", tensors), family("flux1").base)


@pytest.mark.parametrize(
    "tensors", [LORA, LOHA, LOKR, OFT, named(diff=ones(16, 16))], ids=["LoRA", "LoHa", "LoKr", "OFT", "full"]
)
def test_a_cut_file_is_refused(family, write_file, tmp_path, tensors):
    path = write_file(tmp_path / "x.safetensors", tensors)
    whole = path.read_bytes()
    for length in (len(whole) - 1, len(whole) // 2, 9, 0):
        path.write_bytes(whole[:length])
        with pytest.raises(ExpertError, match="not a sound safetensors file"):
            read_expert(path, family("flux1").base)


@pytest.mark.parametrize(
    "dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16, torch.float16, torch.float64]
)
def test_narrow_floats_are_read_exactly(family, tmp_path, dtype):
    generator = torch.Generator().manual_seed(8)
    stored = {key: torch.randn(t.shape, generator=generator).to(dtype) for key, t in LOHA.items()}
    save_file(stored, tmp_path / "x.safetensors")
    a, b, c, d = (stored[f"{Q}.hada_{n}"].float() for n in ("w1_a", "w1_b", "w2_a", "w2_b"))
    delta = read_expert(tmp_path / "x.safetensors", family("flux1").base).deltas[TARGET]
    torch.testing.assert_close(delta.dense(), (a @ b) * (c @ d))


def test_no_alpha_means_the_rank(family, write_file, tmp_path):
    for tensors in (LORA, LOHA, LOKR):
        rank = 2
        with_alpha = tensors | named(alpha=torch.tensor(float(rank)))
        a, b = (
            read_expert(write_file(tmp_path / f"{i}.safetensors", some), family("flux1").base).deltas[TARGET].dense()
            for i, some in enumerate((tensors, with_alpha))
        )
        assert torch.equal(a, b)


def test_one_file_may_use_several_algorithms(family, write_file, tmp_path):
    other = {key.replace("to_q", "to_k"): tensor for key, tensor in LOHA.items()}
    norm = {"lora_unet_transformer_blocks_0_attn_norm_q.w_norm": ones(8)}
    path = write_file(tmp_path / "x.safetensors", LORA | other | norm)
    expert = read_expert(path, family("flux1").base)
    assert (expert.kind, expert.rank, kind_and_rank(read_header(path)).kind) == ("loha", 2, "loha")
    assert {target.split(".")[-2]: float(d.dense().sum()) for target, d in expert.deltas.items()} == {
        "to_q": 2.0 * 256,
        "to_k": 4.0 * 256,
        "norm_q": 8.0,
    }


def test_stored_rotations(family, tmp_path):
    own = family("flux1")
    turn = torch.linalg.qr(
        torch.randn(4, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    ).Q.contiguous()
    save_file(named(oft_diag=turn), tmp_path / "x.safetensors")
    weight = own.weight("transformer_blocks.0.attn.to_q").double()
    want = torch.block_diag(*turn).T @ weight - weight
    delta = read_expert(tmp_path / "x.safetensors", own.base).deltas[TARGET].dense()
    torch.testing.assert_close(delta.double(), want, rtol=1e-5, atol=1e-6)


def test_kohya_rotations_of_a_fused_projection(family, tmp_path):
    """kohya's FLUX files turn q, k and v apart, and constrain each by its own size."""
    own, alpha = family("flux1"), 0.02
    blocks = [torch.randn(2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    name = "oft_unet_double_blocks_1_img_attn_qkv"
    tensors = {f"{name}.oft_blocks.{i}": b for i, b in enumerate(blocks)} | {f"{name}.alpha": torch.tensor(alpha)}
    save_file(tensors, tmp_path / "x.safetensors")
    expert = read_expert(tmp_path / "x.safetensors", own.base)
    assert (expert.kind, expert.rank) == ("oft", None)
    for letter, block in zip("qkv", blocks, strict=True):
        skew = block - block.mT
        skew = skew * min(1.0, float(torch.tensor(alpha) * 16 / skew.norm()))
        turn = torch.block_diag(*[(torch.eye(8) + q) @ torch.linalg.inv(torch.eye(8) - q) for q in skew])
        module = f"transformer_blocks.1.attn.to_{letter}"
        want = turn.T @ own.weight(module).double() - own.weight(module).double()
        delta = expert.deltas[f"transformer.{module}.weight"].dense().double()
        assert float((delta - want).norm() / want.norm()) < 1e-5
    save_file(tensors | {f"{name}.alpha": torch.tensor(0.0)}, tmp_path / "zero.safetensors")
    with pytest.raises(ExpertError, match="no turn at all"):
        read_expert(tmp_path / "zero.safetensors", own.base)


def test_low_rank_stays_low_rank(family, write_file, tmp_path):
    own = family("flux1")
    name, target = (
        "lora_unet_single_blocks_0_linear2",
        "transformer.single_transformer_blocks.0.proj_out.weight",
    )  # 16 x 80
    loha = {f"{name}.hada_w{i}_{x}": torch.randn(s) for i in (1, 2) for x, s in (("a", (16, 2)), ("b", (2, 80)))}
    lokr = {
        f"{name}.lokr_w1": torch.randn(2, 2),
        f"{name}.lokr_w2_a": torch.randn(8, 1),
        f"{name}.lokr_w2_b": torch.randn(1, 40),
    }
    for tensors, rank in ((loha, 4), (lokr, 2)):
        delta = read_expert(write_file(tmp_path / "x.safetensors", tensors), own.base).deltas[target]
        assert delta.rank == rank


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_mix_of_parts_is_read_or_refused(family, tmp_path_factory, data):
    """No set of part names leads anywhere but to whole deltas or an ExpertError that names keys."""
    everything = (
        LORA | LOHA | LOKR | OFT | named(diff=ones(16, 16), diff_b=ones(16), dora_scale=ones(16, 1), w_norm=ones(16))
    )
    keys = data.draw(st.sets(st.sampled_from(sorted(everything)), min_size=1, max_size=6))
    path = tmp_path_factory.mktemp("mix") / "x.safetensors"
    save_file({key: everything[key].clone() for key in keys}, path)
    refused, expert = None, None
    try:
        expert = read_expert(path, family("flux1").base)
    except ExpertError as error:
        refused = error
    if expert is None:
        assert refused is not None
        assert refused.keys
    else:
        assert not expert.missing
        assert all(delta.finite() for delta in expert.deltas.values())
        assert kind_and_rank(read_header(path)).kind == expert.kind
