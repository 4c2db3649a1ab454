"""What a user orders beside the words reaches the plan, or is named: on a base that lists what it draws, and on open
ones of several families.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from diffgraph.agents.scout import scout
from diffgraph.errors import UserError
from diffgraph.graph.experts.expert import Skill, SourceRef
from diffgraph.graph.reading.request import Orders
from diffgraph.graph.reading.said_orders import Said, orders_of
from diffgraph.merging.plan.merge_plan import MergePlan
from diffgraph.merging.plan.vae import pin_vae
from diffgraph.settings import Settings
from diffgraph.tools.activate_experts import ActivateArgs, activate_experts
from diffgraph.tools.context import Context, Job
from diffgraph.tools.naming import called, named
from diffgraph.tools.obeying import refuse_impossible
from diffgraph.tools.propose_plan import Choice, ProposeArgs, propose_plan
from diffgraph.tools.results import ActivationResult

Planned = tuple[ActivationResult, MergePlan]
NOTHING = ProposeArgs()


def planned(ctx: Context, prompt: str, said: Said | None = None, args: ProposeArgs = NOTHING, **job: Any) -> Planned:
    work = Job(prompt=prompt, orders=orders_of(said) if said else Orders(), **job)
    activation = activate_experts(ctx.with_job(work), ActivateArgs(prompt=prompt))
    made = propose_plan(ctx.with_job(Job(prompt=prompt, orders=work.orders, activation=activation, **job)), args)
    return activation, ctx.load_plan(made.plan_id)


@pytest.fixture(scope="module")
def open_base(pico: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Context]]:
    """A context on a small base of a family, its three LoRAs in the graph."""
    with ExitStack() as stack:
        opened: dict[str, Context] = {}

        def make(name: str) -> Context:
            if name not in opened:
                small = pico(name)
                settings = Settings(
                    base=str(small.base),
                    sources=f"folder:{small.hub}",
                    home=tmp_path_factory.mktemp(name),
                    device="cpu",
                )
                opened[name] = stack.enter_context(Context.open(settings))
                scout(opened[name])
            return opened[name]

        yield make


def why(activation: ActivationResult, text: str) -> str:
    """The reason that an order was not obeyed; "" if it was."""
    return next((one.why for one in activation.unmet if one.text == text), "")


# -- a base that draws only what it lists


def test_seed_steps_guidance_and_weight_are_obeyed(ctx: Context) -> None:
    plain, before = planned(ctx, "an octopus")
    assert plain.experts
    name = plain.experts[0].id.rpartition("/")[2]
    activation, plan = planned(ctx, f"an octopus, seed 42, 25 steps, cfg 6.5 <lora:{name}:0.4>")
    assert (plan.seeds, plan.sampler.steps, plan.sampler.guidance) == ((42,), 25, 6.5)
    assert [e.weight for e in plan.experts] == [0.4]
    assert (plan.prompt, activation.unmet) == (before.prompt, ())
    assert before.seeds == (0,)


def test_the_requests_own_seed_goes_first(ctx: Context) -> None:
    assert planned(ctx, "an octopus, seed 42", seed=7)[1].seeds == (7,)


def test_what_cannot_be_obeyed_is_named(ctx: Context) -> None:
    activation, plan = planned(ctx, "an octopus, no hat, 3 of them <lora:nobody:0.5> BREAK --v 6")
    assert activation.excluded == ("hat",)
    assert {u.text for u in activation.unmet} >= {"<lora:nobody:0.5>", "BREAK", "--v 6"}
    fits = ctx.profile.vocabulary == "open" and ctx.profile.negative_prompt
    assert plan.negative_prompt == ("hat" if fits else "")


def test_an_expert_that_nobody_asked_for_is_merged_if_it_is_ordered_outside(ctx: Context) -> None:
    typed, plan = planned(ctx, "a pizza <lora:sea-life:0.5>")
    assert ([e.id for e in plan.experts], why(typed, "<lora:sea-life:0.5>") != "") == ([], True)
    activation, plan = planned(ctx, "a pizza", {"experts": ["sea-life:-0.5", "world/blueprint:3"]})
    assert {e.id: e.weight for e in plan.experts} == {"world/sea-life": -0.5, "world/blueprint": 3.0}
    assert (activation.unmet, "octopus" in plan.prompt, "blueprint style" in plan.prompt) == ((), False, True)


def test_a_closed_base_names_size_and_negative_prompt(ctx: Context) -> None:
    activation, plan = planned(
        ctx, "an octopus", {"size": "portrait", "negative": "hats", "sampler": "DPM++ 2M Karras"}
    )
    assert "only" in why(activation, "size 3:4")
    assert "negative prompt" in why(activation, "negative hats")
    assert (plan.sampler.name, plan.negative_prompt, plan.sampler.width) == ("dpmpp_2m_karras", "", None)


def test_text_that_a_closed_base_does_not_write_is_named(ctx: Context) -> None:
    activation, plan = planned(ctx, 'an octopus that says "hello there"')
    assert "hello" not in plan.prompt
    assert "writes no text" in why(activation, '"hello there"')


def test_an_expert_that_is_ruled_out_is_nobodys_choice(ctx: Context) -> None:
    activation, _ = planned(ctx, "a pizza, an octopus", {"without": ["sea-life"]})
    assert ([e.id for e in activation.experts], activation.uncovered) == ([], ("octopus",))
    assert {r.id: r.why for r in activation.rejected} == {"world/sea-life": "is ruled out by the request"}
    brain = ProposeArgs(experts=[Choice(id="world/sea-life", trigger="octopus")])
    assert planned(ctx, "a pizza", {"without": ["sea-life"]}, brain)[1].experts == ()


# -- a base that draws what it is told


def test_everything_that_can_be_ordered_is_in_the_plan(open_base: Callable[..., Context], tmp_path: Path) -> None:
    ctx = open_base("sdxl")
    vae = Path(shutil.copytree(ctx.machinery.base_dir / "vae", tmp_path / "vae"))
    said: Said = {
        "negative": "blurred, (text:1.2)", "size": "96x128", "steps": 7, "guidance": 4.5, "sampler": "Euler a",
        "clip_skip": 1, "vae": str(vae), "method": "ties", "experts": ["axolotl-sdxl:0.7", "pixel-art-sdxl:0.5:0.25"],
    }  # fmt: skip
    activation, plan = planned(ctx, "a fox, not in the snow --steps 3 --ar 1:1 <lora:axolotl:0.1>", said, seed=5, n=2)
    sampler = plan.sampler
    assert (sampler.name, sampler.steps, sampler.guidance, sampler.clip_skip) == ("euler_a", 7, 4.5, 1)
    assert (sampler.width, sampler.height, plan.seeds, plan.method.name) == (96, 128, (5, 6), "ties")
    assert (plan.negative_prompt, plan.vae) == ("blurred, (text:1.2), snow", pin_vae(vae))
    assert {e.id.split("/")[1].rsplit("-", 2)[0]: (e.weight, e.components) for e in plan.experts} == {
        "axolotl": (0.7, {}),
        "pixel-art": (0.25, {"text_encoder*": 2.0}),
    }
    assert activation.unmet == ()


@pytest.mark.parametrize(
    ("typed", "weight", "components"),
    [("0.7:0.5", 0.5, {"text_encoder*": 1.4}), ("0.7", 0.7, {}), ("0.5:0", 0.5, {"unet": 0.0}), ("0:0.5", 0.5,
     {"text_encoder*": 0.0}), ("-1", -1.0, {})],
)  # fmt: skip
def test_a_tag_is_merged_at_its_weights(
    open_base: Callable[..., Context], typed: str, weight: float, components: dict[str, float]
) -> None:
    activation, plan = planned(open_base("sdxl"), f"a fox <lora:axolotl:{typed}>")
    (one,) = plan.experts
    assert (one.weight, one.components) == (weight, pytest.approx(components))
    assert (activation.unmet, plan.prompt.count("fox")) == ((), 1)


def test_of_several_skills_that_nobody_asked_for_none_is_said(open_base: Callable[..., Context]) -> None:
    ctx = open_base("sdxl")
    axolotl = next(e for e in ctx.store.experts() if "axolotl" in e.id)
    skills = tuple(Skill(facet="subject", name=name, trigger=name) for name in ("mossy robot", "rusty robot"))
    ref = SourceRef(source="folder", repo="several", revision="0", file="several.safetensors")
    several = {"id": "folder/several", "title": "Several", "ref": ref, "sha256": "cd" * 32, "skills": skills}
    ctx.store.add_experts([axolotl.model_copy(update={**several, "triggers": (), "file_names": ()})])
    for words, prompt in (("a fox", "a fox"), ("a rusty robot", "a rusty robot")):
        _, plan = planned(ctx, f"{words} <lora:several:0.5>")
        assert ([(e.id, e.weight) for e in plan.experts], plan.prompt) == ([("folder/several", 0.5)], prompt)


def test_a_weight_of_nought_rules_out(open_base: Callable[..., Context]) -> None:
    assert planned(open_base("sdxl"), "pixel art style, a fox")[1].experts
    activation, plan = planned(open_base("sdxl"), "pixel art style, a fox <lora:pixel-art-sdxl:0>")
    assert (plan.experts, activation.unmet) == ((), ())


@pytest.mark.parametrize(
    ("typed", "size"),
    [("832x1216", (832, 1216)), ("16:9", None), ("portrait", None), ("square", (1024, 1024)), ("landscape", None)],
)
def test_sizes(open_base: Callable[..., Context], typed: str, size: tuple[int, int] | None) -> None:
    activation, plan = planned(open_base("sdxl"), "a fox", {"size": typed})
    width, height = plan.sampler.width or 0, plan.sampler.height or 0
    assert size in (None, (width, height))
    assert (width % 64, height % 64, activation.unmet) == (0, 0, ())
    assert 0.9 < width * height / 1024**2 < 1.1
    assert {"16:9": width > 1.6 * height, "portrait": height > width, "landscape": width > height}.get(typed, True)


def test_sides_that_the_base_cannot_have_are_the_nearest_that_it_can(open_base: Callable[..., Context]) -> None:
    for name, multiple in (("sd15", 8), ("flux1", 16), ("sana", 32)):
        activation, plan = planned(open_base(name), "a fox", {"size": "70x140"})
        sides = plan.sampler.width or 0, plan.sampler.height or 0
        assert all(
            side % 8 == 0 and abs(side - asked) <= multiple for side, asked in zip(sides, (70, 140), strict=True)
        )
        assert f"{sides[0]}x{sides[1]} is drawn" in why(activation, "size 70x140")


def test_what_a_family_does_not_take_is_named_with_what_it_does(open_base: Callable[..., Context]) -> None:
    said: Said = {"negative": "blurred", "sampler": "ddim", "clip_skip": 2, "experts": ["axolotl-flux1:0.5:0.8"]}
    activation, plan = planned(open_base("flux1"), "a fox, no snow, cfg 4", said)
    assert "possible are default, " in why(activation, "sampler ddim")
    assert "takes no negative prompt" in why(activation, "negative blurred")
    assert "takes no negative prompt" in why(activation, "snow")
    assert "Stable Diffusion" in why(activation, "clip skip 2")
    deep, _ = planned(open_base("sdxl"), "a fox", {"clip_skip": 12})
    assert "layers" in why(deep, "clip skip 12")
    assert (plan.sampler.name, plan.sampler.guidance, plan.negative_prompt) == ("default", 4.0, "")
    assert [e.weight for e in plan.experts] == [0.8]


def test_a_negative_prompt_without_guidance_is_named(open_base: Callable[..., Context]) -> None:
    activation, plan = planned(open_base("sd15"), "a fox", {"negative": "blurred", "guidance": 1})
    assert (plan.negative_prompt, plan.sampler.guidance) == ("", 1.0)
    assert "through guidance" in why(activation, "negative blurred")


def test_a_pasted_block_is_obeyed(open_base: Callable[..., Context]) -> None:
    text = (
        "a fox <lora:axolotl:0.6> Negative prompt: blurred, low quality Steps: 24, Sampler: DPM++ 2M, "
        "Schedule type: Karras, CFG scale: 6, Seed: 99, Size: 768x1024, Clip skip: 1, Model: other"
    )
    activation, plan = planned(open_base("sdxl"), text)
    sampler = plan.sampler
    assert (sampler.name, sampler.steps, sampler.guidance, sampler.clip_skip) == ("dpmpp_2m_karras", 24, 6.0, 1)
    assert (sampler.width, sampler.height, plan.seeds) == (768, 1024, (99,))
    assert plan.negative_prompt == "blurred, low quality"
    assert [u.text for u in activation.unmet] == ["model other"]
    assert "--base" in why(activation, "model other")


@pytest.mark.parametrize("spacing", ["Karras", "Align Your Steps"])
def test_a_sampler_is_kept_whose_spacing_cannot_be_had(open_base: Callable[..., Context], spacing: str) -> None:
    text = f"a fox\nSteps: 24, Sampler: Euler a, Schedule type: {spacing}, CFG scale: 6, Seed: 99"
    activation, plan = planned(open_base("sdxl"), text)
    assert plan.sampler.name == "euler_a"
    assert "euler_a is drawn with its own spacing" in why(activation, f"sampler Euler a {spacing}")


def test_a_weight_below_nought_says_no_trigger(open_base: Callable[..., Context]) -> None:
    for name, prompt in (("starry-sdxl:-0.5", "a cat"), ("starry-sdxl:0.3:-0.5", "starry night background, a cat")):
        _, plan = planned(open_base("sdxl"), f"a cat <lora:{name}>")
        assert [e.weight for e in plan.experts] == [-0.5]
        assert plan.prompt == prompt


def test_an_emphasis_of_nought_calls_no_expert(open_base: Callable[..., Context]) -> None:
    ctx = open_base("sdxl")
    for typed, names in (("axolotl (pixel art:0)", ["axolotl"]), ("axolotl (pixel art:0.5)", ["axolotl", "pixel"])):
        activation, plan = planned(ctx, typed)
        assert [e.id.rpartition("/")[2].split("-")[0].split("_")[0] for e in plan.experts] == names
        assert ("pixel" in str(activation.left_to_base)) is False


def test_no_brain_changes_what_is_ordered(open_base: Callable[..., Context]) -> None:
    ctx = open_base("sdxl")
    said: Said = {"experts": ["axolotl-sdxl:0.7"], "method": "ties", "guidance": 4, "steps": 5}
    axolotl = next(e.id for e in ctx.store.experts() if "axolotl" in e.id)
    starry = next(e.id for e in ctx.store.experts() if "starry" in e.id)
    wilful = ProposeArgs(
        experts=[Choice(id=axolotl, weight=1.9), Choice(id=starry)], method="linear", guidance=9, seed=77, params={}
    )
    _, plan = planned(ctx, "a fox, seed 3", said, wilful)
    assert (plan.seeds, plan.method.name, plan.sampler.guidance, plan.sampler.steps) == ((3,), "ties", 4.0, 5)
    assert {e.id: e.weight for e in plan.experts} == {axolotl: 0.7, starry: 0.8}
    _, plan = planned(ctx, "a fox", said, ProposeArgs(experts=[], seed=77))
    assert ({e.id: e.weight for e in plan.experts}, plan.seeds) == ({axolotl: 0.7}, (77,))


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"experts": ["axolotl-sdx"]}, "did you mean folder/axolotl-sdxl"),
        ({"without": ["pixelart"]}, "did you mean folder/pixel-art-sdxl"),
        ({"experts": ["starry-sdxl"], "without": ["starry-sdxl"]}, "both ordered and ruled out"),
        ({"sampler": "eulr"}, "did you mean .*euler"),
        ({"method": "tis"}, "ties"),
        ({"vae": "/nowhere/vae.safetensors"}, "no VAE at /nowhere"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(
    open_base: Callable[..., Context], said: Said, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        refuse_impossible(open_base("sdxl"), orders_of(said))


def test_an_expert_is_known_by_id_file_repository_or_title(open_base: Callable[..., Context]) -> None:
    ctx = open_base("sd15")
    expert = next(e for e in ctx.store.experts() if "axolotl" in e.id)
    for name in (expert.id, "axolotl.safetensors", "axolotl", "axolotl-sd15", "Axolotl SD15", expert.title):
        for weight in ("", ":0.25"):
            (one,) = planned(ctx, "a fox", {"experts": [name + weight]})[1].experts
            assert (one.id, one.weight) == (expert.id, 0.25 if weight else 0.8)


def test_a_name_spelled_to_the_letter_goes_before_one_that_is_like_it(open_base: Callable[..., Context]) -> None:
    ctx = open_base("flux1")
    axolotl = next(e for e in ctx.store.experts() if "axolotl" in e.id)
    for name, sha in (("twin-flux1", "cd"), ("twin_flux1", "ef")):
        ref = SourceRef(source="folder", repo=name, revision="0", file=f"{name}.safetensors")
        more = {"id": f"folder/{name}-{sha}", "title": "Twin", "ref": ref, "sha256": sha * 32}
        ctx.store.add_experts([axolotl.model_copy(update=more)])
    for name, found in (("twin-flux1", "folder/twin-flux1-cd"), ("twin_flux1.safetensors", "folder/twin_flux1-ef")):
        expert, _ = called(ctx, name)
        assert expert is not None
        assert expert.id == named(ctx.store, name, ctx.family).id == found
    assert "several" in called(ctx, "Twin FLUX1")[1]
    with pytest.raises(UserError, match="Several experts are called 'Twin'"):
        named(ctx.store, "Twin", ctx.family)
    with pytest.raises(UserError, match="There is no expert 'nobody'"):
        named(ctx.store, "nobody", ctx.family)


def test_an_id_may_end_like_a_weight(open_base: Callable[..., Context]) -> None:
    ctx = open_base("sd15")
    axolotl = next(e for e in ctx.store.experts() if "axolotl" in e.id)
    ref = SourceRef(source="folder", repo="odd", revision="0", file="odd.safetensors")
    odd = axolotl.model_copy(update={"id": "folder/odd:2", "title": "Odd", "ref": ref, "sha256": "ab" * 32})
    ctx.store.add_experts([odd])
    for said, weight in (("folder/odd:2", 0.8), ("folder/odd:2:0.5", 0.5)):
        (one,) = planned(ctx, "a fox", {"experts": [said]})[1].experts
        assert (one.id, one.weight) == ("folder/odd:2", weight)
