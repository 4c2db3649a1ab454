"""A merge as a LoRA, as a denoiser, as a pipeline: others read it, and it gives the same weights."""

from __future__ import annotations

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file

from diffgraph.bases.index import BaseIndex
from diffgraph.errors import PlanError
from diffgraph.files.header import read_header
from diffgraph.merging.deltas.delta import Delta
from diffgraph.merging.engine.engine import Engine
from diffgraph.merging.engine.stream import FileMerge
from diffgraph.merging.export.export import export_denoiser, export_lora, export_pipeline, truncate
from diffgraph.merging.export.lora_names import fits_lora, lora_tensors
from diffgraph.merging.formats.detect import kind_and_rank
from diffgraph.merging.sampling.pipeline import render
from diffgraph.merging.sampling.png_record import pixels_sha256

TEXT = {"r": 3, "lora_alpha": 5, "target_modules": ["q_proj", "v_proj", "fc1"]}


@pytest.fixture
def words(world):
    world.lora("words", 5, text=TEXT)
    return world


def merged(world, *experts, **more):
    return FileMerge(world.plan(*experts, **more), world.base, world.locate)


def weights_of(engine, world, plan):
    engine.apply(plan, world.locate)
    return {target: weight.clone() for target, weight in engine.weights.items()}


def assert_same(found, wanted, tolerance=1e-5):
    for target, weight in wanted.items():
        assert torch.allclose(found[target], weight, rtol=tolerance, atol=tolerance * 0.1), target


@pytest.mark.parametrize("layout", ["diffusers", "kohya"])
def test_a_lora_of_several_is_read_by_diffusers_and_by_us_as_the_same_weights(words, engine, tmp_path, layout):
    world = words
    plan = world.plan(world.expert("words", 0.8), world.expert("ink", -0.5), world.expert("stars", 2.0))
    wanted = weights_of(engine, world, plan)
    path = tmp_path / "one.safetensors"
    report = export_lora(FileMerge(plan, world.base, world.locate), path, {}, layout=layout)
    assert (report.form, report.rank, report.energy_lost, report.left_out) == ("lora", 9, 0.0, ())
    assert report.size_bytes == path.stat().st_size
    changed = {t for t, w in wanted.items() if not torch.equal(w, engine.pristine[t])}
    assert report.targets == len(changed)
    assert any(target.startswith("text_encoder.") for target in changed)
    world.add("one", path)
    assert_same(weights_of(engine, world, world.plan(world.expert("one"))), wanted)
    # diffusers 0.42 beside transformers 5 passes over the attention of text encoders in kohya's names.
    lost = ("vae.", "text_encoder.encoder.layers") if layout == "kohya" else ("vae.",)
    assert_same(world.fused_by_diffusers(path), {t: w for t, w in wanted.items() if not t.startswith(lost)})
    assert kind_and_rank(read_header(path)).rank == 9


def test_kept_factors_are_exact(words, engine, tmp_path):
    """Nothing is multiplied out: the file's factors are the plan's, so the merged weights are the same bits."""
    world = words
    plan = world.plan(world.expert("owl", 0.7))
    wanted = weights_of(engine, world, plan)
    export_lora(FileMerge(plan, world.base, world.locate), tmp_path / "x.safetensors", {})
    world.add("x", tmp_path / "x.safetensors")
    found = weights_of(engine, world, world.plan(world.expert("x")))
    assert all(torch.equal(found[target], weight) for target, weight in wanted.items())


def test_a_rank_compresses_and_says_what_is_lost(world, engine, tmp_path):
    plan = world.plan(world.expert("owl"), world.expert("ink"), world.expert("stars"))
    wanted = weights_of(engine, world, plan)
    lost = total = 0.0
    for target, weight in wanted.items():
        if not torch.equal(weight, engine.pristine[target]):
            s = torch.linalg.svdvals((weight - engine.pristine[target]).flatten(1).double())
            total += float(s.square().sum())
            lost += float(s[3:].square().sum())
    report = export_lora(FileMerge(plan, world.base, world.locate), tmp_path / "x.safetensors", {}, rank=3)
    assert report.rank == 3
    assert report.energy_lost == pytest.approx(lost / total, rel=1e-3)
    assert 0.05 < report.energy_lost < 0.9
    roomy = export_lora(FileMerge(plan, world.base, world.locate), tmp_path / "y.safetensors", {}, rank=64)
    assert roomy.energy_lost == 0.0
    world.add("y", tmp_path / "y.safetensors")
    assert_same(weights_of(engine, world, world.plan(world.expert("y"))), wanted)


def test_truncation_is_the_truncated_svd_for_factors_and_for_full_matrices():
    torch.manual_seed(0)
    up, down = torch.randn(6, 4), torch.randn(4, 5)
    u, s, vh = torch.linalg.svd((up @ down).double())
    best = (u[:, :2] * s[:2]) @ vh[:2]
    for delta in (Delta((6, 5), up, down), Delta((6, 5), full=up @ down)):
        small, lost = truncate(delta, 2)
        assert small.rank == 2
        assert torch.allclose(small.matrix().double(), best, atol=1e-4)
        assert lost == pytest.approx(float(s[2:].square().sum()), rel=1e-4)


def test_what_no_lora_can_hold_is_refused_or_with_a_rank_counted_as_lost(world, engine, tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(PlanError, match=r"ties gives a full matrix at unet\..*give a rank"):
        export_lora(merged(world, world.expert("owl"), world.expert("ink"), method="ties"), path, {})
    with pytest.raises(PlanError, match="which no LoRA can hold"):
        export_lora(merged(world, world.expert("tuned")), path, {})
    assert not path.exists()
    report = export_lora(merged(world, world.expert("tuned")), path, {}, rank=4)
    wanted = weights_of(engine, world, world.plan(world.expert("tuned")))
    changed = {t for t, w in wanted.items() if not torch.equal(w, engine.pristine[t])}
    unfit = {t for t in changed if not fits_lora(t, tuple(wanted[t].shape))}
    assert set(report.left_out) == unfit
    assert all(t.endswith(".bias") or "norm" in t for t in unfit)
    assert 0.0 < report.energy_lost < 1.0
    world.fused_by_diffusers(path)


def test_kohya_names_are_for_unets_and_embeddings_are_no_linear_layers(world, tmp_path):
    other = BaseIndex(world.base.path, "transformer", {"transformer": ()}, {})
    with pytest.raises(PlanError, match="use --layout diffusers"):
        lora_tensors({}, other, "kohya", torch.float32)
    assert fits_lora("unet.time_embedding.linear_1.weight", (4, 4))
    assert not fits_lora("text_encoder.embeddings.token_embedding.weight", (4, 4))
    assert not fits_lora("unet.norm.weight", (4,))
    assert not fits_lora("unet.conv.bias", (4,))
    kohya = tmp_path / "k.safetensors"
    export_lora(merged(world, world.expert("owl")), kohya, {}, layout="kohya", dtype=torch.float16)
    tensors = load_file(kohya)
    stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_k"
    assert {f"{stem}.lora_down.weight", f"{stem}.lora_up.weight", f"{stem}.alpha"} <= set(tensors)
    assert float(tensors[f"{stem}.alpha"]) == tensors[f"{stem}.lora_down.weight"].shape[0] == 4
    assert tensors[f"{stem}.lora_up.weight"].dtype == torch.float16
    convolution = next(k for k in tensors if "conv1.lora_down" in k)
    assert tensors[convolution].dim() == 4
    assert read_header(kohya).metadata["ss_network_dim"] == "4"


def test_a_written_denoiser_is_loaded_by_diffusers(world, engine, tmp_path):
    plan = world.plan(world.expert("owl"), world.expert("tuned", 0.5), method="ties")
    wanted = weights_of(engine, world, plan)
    folder = tmp_path / "unet"
    folder.mkdir()
    path = folder / "diffusion_pytorch_model.safetensors"
    report = export_denoiser(FileMerge(plan, world.base, world.locate), path, {})
    (folder / "config.json").write_bytes((world.base_dir / "unet" / "config.json").read_bytes())
    loaded = UNet2DConditionModel.from_pretrained(folder)
    assert all(torch.equal(p, wanted[f"unet.{name}"]) for name, p in loaded.named_parameters())
    assert (report.form, report.rank) == ("denoiser", None)
    card = path.with_suffix(".md").read_text()
    assert "license_name" in card
    world.lora("words", 5, text=TEXT)
    with pytest.raises(PlanError, match="also changes text_encoder: write a folder"):
        export_denoiser(merged(world, world.expert("words")), tmp_path / "y.safetensors", {})


def test_a_written_pipeline_draws_the_plans_image_without_us(words, engine, tmp_path):
    world = words
    plan = world.plan(world.expert("words"), world.expert("stars", 0.5), method="np_lora", seeds=(3,))
    wanted = render(engine, plan, world.locate)
    report = export_pipeline(FileMerge(plan, world.base, world.locate), tmp_path / "out", {})
    assert StableDiffusionPipeline.from_pretrained(tmp_path / "out", safety_checker=None) is not None
    fresh = Engine(tmp_path / "out", device="cpu")
    alone = plan.model_copy(update={"base": plan.base.model_copy(update={"sha256": fresh.base.sha256}), "experts": ()})
    found = render(fresh, alone, world.locate)
    assert [pixels_sha256(i) for i in found] == [pixels_sha256(i) for i in wanted]
    assert set(report.sha256) == {
        f.relative_to(world.base_dir).as_posix() for fs in world.base.files.values() for f in fs
    }
    halved = export_pipeline(FileMerge(plan, world.base, world.locate), tmp_path / "half", {}, dtype=torch.float16)
    assert halved.size_bytes < 0.6 * report.size_bytes
    for weight in load_file(tmp_path / "half" / "unet" / "diffusion_pytorch_model.safetensors").values():
        assert weight.dtype == torch.float16


def test_the_card_names_parents_and_licence_and_stays_in_its_place(world, tmp_path):
    plan = world.plan(
        world.expert("owl", 0.5, trigger="tawny | `owl`"), world.expert("ink"), prompt="an owl\n---\nlicense: mit | `x`"
    )
    path = tmp_path / "x.safetensors"
    export_lora(
        FileMerge(plan, world.base, world.locate), path, {"": "openrail", "owl": "cc-by-nc-4.0\n# hm", "ink": "mit"}
    )
    card = path.with_suffix(".md").read_text()
    front = card.split("---\n")[1]
    assert 'license: "other"\nlicense_name: "unknown"' in front
    assert "unknown, because that of owl ('cc-by-nc-4.0 # hm') is" in card
    assert card.count("\n---\n") == 1
    assert f"| `owl` | 0.5 | `{plan.experts[0].sha256[:12]}…` |" in card
    assert plan.plan_id in card
    assert "key layout: `diffusers`" in card
    export_lora(FileMerge(plan, world.base, world.locate), path, {"": "openrail", "owl": "mit", "ink": "mit"})
    assert 'license: "openrail"' in path.with_suffix(".md").read_text()
