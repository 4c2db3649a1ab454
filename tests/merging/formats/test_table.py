"""Every adapter format on every family, against PEFT's merge and LyCORIS' forward pass: relative error at most 1e-5.

The last test prints the table (run with ``-s`` to see it).
"""

from __future__ import annotations

import pytest
import torch
from diffgraph_pico.kohya import FLAT
from lycoris.modules.diag_oft import DiagOFTModule
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from peft import LoHaConfig, LoKrConfig, LoraConfig, OFTConfig

from diffgraph.merging.formats import read_expert

BOUND = 1e-5
FAMILIES = ("sd15", "sdxl", "sd3", "flux1", "flux2", "qwen", "z_image")

# Suffixes of modules, as PEFT wants them; the UNets' have convolutions among them.
SUFFIXES = {
    "sd15": ["attn1.to_q", "attn2.to_k", "conv1", "downsamplers.0.conv", "time_emb_proj"],
    "sdxl": ["attn1.to_q", "attn2.to_k", "conv2", "proj_in", "add_embedding.linear_1"],
    "sd3": ["attn.to_q", "attn2.to_v", "ff.net.0.proj", "norm1.linear", "attn.add_k_proj"],
    "flux1": ["attn.to_q", "attn.add_k_proj", "proj_mlp", "norm.linear", "ff.net.2"],
    "flux2": ["attn.to_q", "attn.to_qkv_mlp_proj", "ff.linear_in", "attn.add_k_proj"],
    "qwen": ["attn.to_q", "attn.add_v_proj", "img_mlp.net.2", "img_mod.1"],
    "z_image": ["attention.to_q", "attention.to_out.0", "feed_forward.w1", "feed_forward.w3"],
}
NORMS = {
    "sd15": ("mid_block_attentions_0_norm", "mid_block.attentions.0.norm"),
    "sdxl": ("middle_block_1_norm", "mid_block.attentions.0.norm"),
    "sd3": ("joint_blocks_0_x_block_attn_ln_q", "transformer_blocks.0.attn.norm_q"),
    "flux1": ("single_blocks_0_norm_query_norm", "single_transformer_blocks.0.attn.norm_q"),
    "flux2": ("double_blocks_0_txt_attn_norm_key_norm", "transformer_blocks.0.attn.norm_added_k"),
    "qwen": ("transformer_blocks_0_attn_norm_q", "transformer_blocks.0.attn.norm_q"),
    "z_image": ("layers_0_attention_q_norm", "layers.0.attention.norm_q"),
}

PEFT = {
    "LoRA (PEFT)": lambda at: LoraConfig(r=3, lora_alpha=5, target_modules=at, use_rslora=True),
    "DoRA (PEFT)": lambda at: LoraConfig(r=3, lora_alpha=5, target_modules=at, use_dora=True),
    "LoHa (PEFT)": lambda at: LoHaConfig(r=2, alpha=5, target_modules=at),
    "LoHa tucker (PEFT)": lambda at: LoHaConfig(r=2, alpha=5, target_modules=at, use_effective_conv2d=True),
    "LoKr (PEFT)": lambda at: LoKrConfig(r=2, alpha=5, target_modules=at, decompose_factor=2),
    "LoKr tucker (PEFT)": lambda at: LoKrConfig(
        r=1, alpha=5, target_modules=at, use_effective_conv2d=True, decompose_both=True, decompose_factor=4
    ),
    "OFT Neumann (PEFT)": lambda at: OFTConfig(oft_block_size=4, target_modules=at),
    "OFT exact (PEFT)": lambda at: OFTConfig(oft_block_size=4, target_modules=at, use_cayley_neumann=False, r=0),
    "OFT shared (PEFT)": lambda at: OFTConfig(oft_block_size=4, target_modules=at, block_share=True),
}


def lycoris(cls, dim=2, alpha=3.0, **options):
    return lambda name, layer: cls(name, layer, 1.0, dim, alpha, **options)


LYCORIS = {
    "LoRA/LoCon (kohya)": lycoris(LoConModule),
    "LoCon tucker (kohya)": lycoris(LoConModule, use_tucker=True),
    "DoRA (kohya)": lycoris(LoConModule, weight_decompose=True),
    "DoRA by input (kohya)": lycoris(LoConModule, weight_decompose=True, wd_on_out=False),
    "LoHa (LyCORIS)": lycoris(LohaModule),
    "LoHa tucker (LyCORIS)": lycoris(LohaModule, use_tucker=True),
    "LoHa + DoRA (LyCORIS)": lycoris(LohaModule, weight_decompose=True),
    "LoKr (LyCORIS)": lycoris(LokrModule, factor=2),
    "LoKr full (LyCORIS)": lycoris(LokrModule, full_matrix=True),
    "LoKr + DoRA (LyCORIS)": lycoris(LokrModule, factor=2, weight_decompose=True),
    "OFT (LyCORIS)": lycoris(DiagOFTModule, dim=4),
    "OFT constrained (LyCORIS)": lycoris(DiagOFTModule, dim=4, constraint=0.01),
    "OFT rescaled (LyCORIS)": lycoris(DiagOFTModule, dim=4, rescaled=True),
}
OTHERS = ("full (LyCORIS)", "full fine-tune")
ERRORS: dict[tuple[str, str], float] = {}


def compare(expert, oracle, family, column):
    """Exactly the oracle's targets, each as close as the bound says."""
    assert not expert.missing
    assert set(expert.deltas) == set(oracle)
    errors = []
    for target, delta in expert.deltas.items():
        want = oracle[target].double()
        assert delta.shape == tuple(want.shape)
        assert float(want.norm()) > 1e-3
        errors.append(float((delta.dense().double() - want).norm() / want.norm()))
    ERRORS[family, column] = max(errors)
    assert max(errors) <= BOUND


@pytest.mark.parametrize("column", PEFT)
@pytest.mark.parametrize("name", FAMILIES)
def test_as_peft_merges_it(family, write_file, tmp_path, name, column):
    own = family(name)
    state, deltas, metadata = own.peft(PEFT[column](SUFFIXES[name]), seed=2)
    expert = read_expert(write_file(tmp_path / "x.safetensors", state, metadata), own.base)
    assert expert.kind == column.split()[0].lower()
    compare(expert, deltas, name, column)


def stand_in(own, modules):
    """A layer in float64 with the weights of ``modules`` fused as the original code has them, and how to undo that."""
    swap = modules[-1] == "swap"
    modules = [m for m in modules if m != "swap"]
    parts = [own.weight(module) for module in modules]
    weight = torch.cat(parts)
    if swap:
        weight = torch.cat(weight.chunk(2)[::-1])
    rows, columns, *kernel = weight.shape
    layer = torch.nn.Conv2d(columns, rows, kernel) if kernel else torch.nn.Linear(columns, rows)
    layer.weight.data.copy_(weight)

    def undo(delta):
        if swap:
            delta = torch.cat(delta.chunk(2)[::-1])
        return {
            f"{own.component}.{m}.weight": d for m, d in zip(modules, delta.split([len(p) for p in parts]), strict=True)
        }

    return layer.double(), undo


def forward_delta(module, layer):
    """What a LyCORIS module adds to its layer's output, for every unit input: its delta, in the weight's shape."""
    shape = layer.weight.shape
    inputs = torch.eye(shape[1:].numel(), dtype=layer.weight.dtype)
    if len(shape) == 4:
        inputs = inputs.reshape(-1, *shape[1:])
    with torch.no_grad():
        return (module(inputs) - layer(inputs)).flatten(1).T.reshape(shape)


@pytest.mark.parametrize("column", LYCORIS)
@pytest.mark.parametrize("name", FAMILIES)
def test_as_lycoris_computes_it(family, write_file, fill_module, tmp_path, name, column):
    own = family(name)
    state, oracle = {}, {}
    for index, (flat, modules) in enumerate(FLAT[name].items()):
        layer, undo = stand_in(own, modules)
        if column.startswith("OFT"):  # LyCORIS inverts in float32 only
            layer = layer.float()
        module = LYCORIS[column](f"lora_unet_{flat}", layer).to(layer.weight.dtype)
        fill_module(module, index + 3)
        oracle |= undo(forward_delta(module, layer))
        state |= {f"lora_unet_{flat}.{key}": value for key, value in module.state_dict().items()}
    expert = read_expert(write_file(tmp_path / "x.safetensors", state), own.base)
    compare(expert, oracle, name, column)


@pytest.mark.parametrize("name", FAMILIES)
def test_full_differences_of_weights_norms_and_biases(family, write_file, tmp_path, name):
    own = family(name)
    generator = torch.Generator().manual_seed(5)
    state, oracle = {}, {}
    for flat, modules in FLAT[name].items():
        layer, undo = stand_in(own, modules)
        state[f"lora_unet_{flat}.diff"] = difference = torch.randn(layer.weight.shape, generator=generator)
        oracle |= undo(difference)
        if own.model.get_submodule(modules[0]).bias is not None:
            state[f"lora_unet_{flat}.diff_b"] = bias = torch.randn(len(layer.weight), generator=generator)
            oracle |= {t.removesuffix("weight") + "bias": b for t, b in undo(bias).items()}
    flat, norm = NORMS[name]
    state[f"lora_unet_{flat}.w_norm"] = oracle[f"{own.component}.{norm}.weight"] = torch.randn(own.weight(norm).shape)
    expert = read_expert(write_file(tmp_path / "x.safetensors", state), own.base)
    assert (expert.kind, expert.rank) == ("full", None)
    compare(expert, oracle, name, "full (LyCORIS)")


@pytest.mark.parametrize("name", FAMILIES)
def test_full_fine_tunes(family, write_file, tmp_path, name):
    own = family(name)
    generator = torch.Generator().manual_seed(6)
    noise = {k: torch.randn(p.shape, generator=generator) for k, p in own.model.named_parameters()}
    state = {key: value + noise.get(key, 0.0) for key, value in own.model.state_dict().items()}
    expert = read_expert(write_file(tmp_path / "x.safetensors", state), own.base)
    assert expert.kind == "checkpoint"
    compare(
        expert, {f"{own.component}.{k}": (state[k] - own.model.state_dict()[k]) for k in noise}, name, "full fine-tune"
    )


def test_the_table(request):
    """Prints format x family, with the largest relative error of any module; whole if the whole file was run."""
    columns = [*PEFT, *LYCORIS, *OTHERS]
    print(f"\n{'relative error':28}" + "".join(f"{name:>9}" for name in FAMILIES))
    for column in columns:
        cells = [ERRORS.get((name, column)) for name in FAMILIES]
        print(f"{column:28}" + "".join(f"{'-' if cell is None else format(cell, '.0e'):>9}" for cell in cells))
    assert all(error <= BOUND for error in ERRORS.values())
    if len(request.session.items) >= len(columns) * len(FAMILIES):
        assert len(ERRORS) == len(columns) * len(FAMILIES)
