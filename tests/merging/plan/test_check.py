"""The check of a plan, from headers alone, agrees with what the engine then does."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from diffgraph.errors import UserError
from diffgraph.merging.deltas.delta import add
from diffgraph.merging.engine.device_rates import measure
from diffgraph.merging.methods import method
from diffgraph.merging.plan.check import check
from diffgraph.merging.plan.estimate import DeviceRates
from diffgraph.merging.plan.merge_plan import Method, Ramp


def codes(report, fatal=True):
    return [problem.code for problem in report.problems if problem.fatal == fatal]


def test_a_good_plan_passes_and_counts_what_the_engine_will_touch(world, engine):
    plan = world.plan(world.expert("owl"), world.expert("stars", 0.5, blocks={"mid_block.*": 0.0}), method="ties")
    report = check(plan, world.base, world.locate, families={"owl": "tiny", "stars": "tiny"})
    assert report.ok
    assert report.problems == ()
    assert report.plan_id == plan.plan_id
    assert [(e.id, e.kind, e.rank, e.coverage) for e in report.experts] == [
        ("owl", "lora", 4, 1),
        ("stars", "lora", 3, 1),
    ]
    assert report.targets == engine.apply(plan, world.locate).targets
    assert report.experts[0].size_bytes == world.paths["owl"].stat().st_size


def test_a_checkpoint_folder_passes(world):
    report = check(world.plan(world.expert("tuned")), world.base_dir, world.locate)
    assert report.ok
    assert (report.experts[0].kind, report.experts[0].rank) == ("checkpoint", None)


def test_every_problem_is_found_not_only_the_first(world):
    world.write("alien", {f"unet.x.lora_{part}.weight": torch.ones(2, 2) for part in "AB"})
    pickle = world.root / "evil.ckpt"
    torch.save({"a": torch.ones(1)}, pickle)
    world.add("evil", pickle)
    plan = world.plan(
        world.expert("alien"),
        world.expert("evil"),
        world.expert("owl", trigger="tawny owl", blocks={"nowhere.*": 0.5}),
        world.expert("ink", 0.0),
        method="tis",
    )
    plan = plan.model_copy(update={"base": plan.base.model_copy(update={"sha256": "0" * 64})})
    report = check(plan, world.base, world.locate, families={"owl": "sd15"})
    assert not report.ok
    assert codes(report) == ["base", "method", "coverage", "file", "blocks"]
    assert codes(report, fatal=False) == ["trigger", "family", "weight"]
    text = report.sentences()
    for words in ("did you mean ties", "is a pickle", "nothing of expert alien", "for base family sd15", "nowhere.*"):
        assert words in text
    assert text.index("did you mean") < text.index("weight 0")


def test_a_file_that_fits_whole_is_never_refused_for_its_family(world):
    world.write("slider", {k: t for k, t in world.tensors("ink").items() if ".attn1." in k})
    for family, said in (("unknown", []), ("sd15", ["family"]), ("tiny", [])):
        report = check(world.plan(world.expert("slider")), world.base, world.locate, families={"slider": family})
        assert report.ok
        assert codes(report, fatal=False) == said
    assert (
        "every weight that it changes fits"
        in check(world.plan(world.expert("slider")), world.base, world.locate, families={"slider": "sd15"}).sentences()
    )
    tensors = world.tensors("slider")
    key = sorted(tensors)[0]
    gone = {key.replace("unet.", "unet.gone.").replace("lora_A", f"lora_{part}"): torch.ones(2, 2) for part in "AB"}
    world.write("partial", tensors | gone)
    for family in ("unknown", "sd15"):
        plan = world.plan(world.expert("partial"), allow_partial=True)
        assert codes(check(plan, world.base, world.locate, families={"partial": family})) == ["family"]


def test_wrong_shapes_bytes_and_copies_are_fatal(world):
    query = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    world.write("wide", {f"unet.{query}.lora_{part}.weight": torch.ones(9, 9) for part in "AB"})
    wide = check(world.plan(world.expert("wide")), world.base, world.locate)
    assert codes(wide) == ["file"]
    assert "another family" in wide.sentences()
    plan = world.plan(world.expert("owl"))
    world.add("owl", world.paths["ink"])
    assert "not the one in the plan" in check(plan, world.base, world.locate).sentences()
    world.add("copy", world.paths["ink"])
    copies = check(world.plan(world.expert("ink"), world.expert("copy")), world.base, world.locate)
    assert codes(copies) == ["experts"]


def test_partial_coverage_needs_permission(world):
    tensors = world.tensors("ink")
    key = sorted(tensors)[0]
    for part in "AB":
        tensors[key.replace("unet.", "unet.gone.").replace("lora_A", f"lora_{part}")] = torch.ones(2, 2)
    world.write("partial", tensors)
    refused = check(world.plan(world.expert("partial")), world.base, world.locate)
    assert codes(refused) == ["coverage"]
    allowed = check(world.plan(world.expert("partial"), allow_partial=True), world.base, world.locate)
    assert allowed.ok
    assert 0.9 < allowed.experts[0].coverage < 1.0


def test_a_base_that_is_not_there_is_a_user_error(world, tmp_path):
    with pytest.raises(UserError, match="no diffusers pipeline"):
        check(world.plan(), tmp_path, world.locate)


def test_a_check_imports_no_torch(world, tmp_path):
    plan = world.plan(world.expert("owl"))
    (tmp_path / "plan.json").write_text(plan.model_dump_json())
    code = (
        "import sys; from pathlib import Path; from diffgraph.merging.plan.check import check;"
        "from diffgraph.merging.plan.merge_plan import MergePlan;"
        "report = check(MergePlan.load(Path(sys.argv[1])), Path(sys.argv[2]), lambda e: Path(sys.argv[3]));"
        "assert report.ok and 'torch' not in sys.modules"
    )
    arguments = [str(tmp_path / "plan.json"), str(world.base_dir), str(world.paths["owl"])]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)


def test_the_licence_of_the_output_and_the_overlap_of_experts_are_told(world):
    plan = world.plan(world.expert("owl"), world.expert("ink", 0.5), world.expert("stars", -1.0))
    licences = {"": "creativeml-openrail-m", "owl": "mit", "ink": "apache-2.0", "stars": "mit"}
    overlaps = {("ink", "owl"): 0.75, ("owl", "stars"): 0.9, ("ink", "stars"): 0.1}
    report = check(plan, world.base, world.locate, licences=licences, overlaps=overlaps)
    assert report.ok
    assert report.licence is not None
    assert report.licence.id == "creativeml-openrail-m"
    assert codes(report, fatal=False) == ["overlap"]  # stars pulls the other way
    assert "experts owl and ink push the same weights the same way (cosine 0.75)" in report.sentences()
    unknown = check(plan, world.base, world.locate, licences={"": "mit"})
    assert (unknown.ok, codes(unknown, fatal=False)) == (True, ["licence"])
    assert "unknown, because that of ink, owl, stars is" in unknown.sentences()


def test_shared_weights_and_modules_are_counted(world):
    world.lora("words", 5, text={"r": 2, "lora_alpha": 2, "target_modules": ["q_proj"]})
    report = check(world.plan(world.expert("words"), world.expert("ink")), world.base, world.locate)
    assert sum(report.modules.values()) == report.targets
    assert report.modules["text_encoder"] == 2
    assert report.shared == report.experts[1].targets
    off = world.expert("words", components={"text_encoder*": 0.0})
    assert "text_encoder" not in check(world.plan(off), world.base, world.locate).modules


def test_negative_and_huge_weights_pass_with_a_word(world):
    report = check(world.plan(world.expert("owl", -0.5), world.expert("ink", -9.0)), world.base, world.locate)
    assert report.ok
    assert [(p.code, p.expert) for p in report.problems] == [("weight", "ink")]


def test_a_ramp_that_leaves_a_parameters_range_is_fatal(world):
    ramp = Ramp(params={"density": (0.5, 2.0)})
    plan = world.plan(world.expert("owl"), method="ties", schedule=ramp)
    report = check(plan, world.base, world.locate)
    assert codes(report) == ["schedule"]
    assert "at step 2 of 3" in report.sentences()


def test_the_estimate_adds_up_bytes_and_flops_of_a_plan_by_hand(world):
    weight = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    rows, columns = world.base.shape(f"unet.{weight}.weight")
    world.write(
        "small",
        {f"unet.{weight}.lora_A.weight": torch.ones(2, columns), f"unet.{weight}.lora_B.weight": torch.ones(rows, 2)},
    )
    rates = DeviceRates(device="toy", copy_rate=1e6, matmul_rate=1e3)
    found = check(world.plan(world.expert("small")), world.base, world.locate, rates=rates, dtype="bfloat16").estimate
    factors, size = 4 * 2 * (rows + columns), rows * columns
    everything = sum(info.numel for _, _, info in world.base.params.values())
    assert found.flops == 2 * 2 * size
    assert found.bytes_moved == world.paths["small"].stat().st_size + factors + size * 12
    assert found.peak_bytes == everything * 2 + size * 2 + factors + 3 * 4 * size
    assert found.seconds == pytest.approx(found.bytes_moved / 1e6 + found.flops / 1e3)
    both = world.plan(world.expert("owl"), world.expert("tuned"), method="ties")
    dense = check(both, world.base, world.locate, rates=rates).estimate
    plain = check(both.model_copy(update={"method": Method()}), world.base, world.locate, rates=rates).estimate
    assert dense.peak_bytes > plain.peak_bytes
    assert dense.seconds > plain.seconds


@pytest.mark.parametrize("low_rank", [True, False])
def test_a_method_of_somebody_else_is_priced_by_what_it_says_of_itself(world, monkeypatch, low_rank):
    def combine(self, parts, seed):
        return add([part.delta for part in parts], [part.weight for part in parts])

    said = {"name": "theirs", "reference_url": "https://example.org", "low_rank": low_rank, "combine": combine}
    monkeypatch.setitem(method._REGISTRY._items, "theirs", type("Theirs", (method.MergeMethod,), said))
    rates = DeviceRates(device="toy", copy_rate=1e6, matmul_rate=1e3)
    experts = world.expert("owl"), world.expert("stars")
    theirs, linear = (
        check(world.plan(*experts, method=name), world.base, world.locate, rates=rates).estimate
        for name in ("theirs", "linear")
    )
    assert (theirs == linear) is low_rank
    assert theirs.peak_bytes >= linear.peak_bytes


def test_the_rates_of_this_machine_are_believable():
    rates = measure()
    assert rates.device == "cpu"
    assert 1e8 < rates.copy_rate < 1e13
    assert 1e8 < rates.matmul_rate < 1e16
    with pytest.raises(UserError, match="no device called"):
        measure("abacus")
