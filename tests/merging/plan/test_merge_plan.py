"""Plans are frozen, canonical data, and plug-ins are found by name."""

from __future__ import annotations

import hashlib
import json

import pytest
from pydantic import ValidationError

from diffgraph.errors import PlanError, UserError
from diffgraph.merging.plan.diff import differences
from diffgraph.merging.plan.merge_plan import (
    MAX_PLAN_BYTES,
    MergePlan,
    Method,
    PlanBase,
    PlanExpert,
    PlanVae,
    Sampler,
    Switch,
    json_schema,
)


@pytest.fixture
def plan():
    expert = PlanExpert(id="a", ref="r", sha256="ab" * 32, weight=0.5, blocks={"mid_block.*": 0.0})
    return MergePlan(base=PlanBase(ref="b", family="f", sha256="cd" * 32), experts=(expert,), prompt="an owl 🦉")


def test_the_id_is_the_hash_of_the_canonical_json_and_of_nothing_else(plan):
    shuffled = dict(reversed(json.loads(plan.model_dump_json()).items()))
    assert MergePlan.model_validate(shuffled).plan_id == plan.plan_id
    by_hand = (
        '{"allow_partial":false,"base":{"family":"f","ref":"b","sha256":"' + "cd" * 32 + '"},"experts":[{"blocks":'
        '{"mid_block.*":0.0},"facet":"subject","id":"a","ref":"r","sha256":"'
        + "ab"
        * 32
        + '","trigger":"","weight":0.5}],'
        '"method":{"name":"linear","params":{}},"negative_prompt":"","prompt":"an owl 🦉","sampler":{"guidance":3.0,'
        '"height":null,"name":"default","steps":16,"width":null},"seeds":[0],"version":1}'
    )
    assert plan.plan_id == hashlib.sha256(by_hand.encode()).hexdigest()
    for change in ({"prompt": "two owls"}, {"seeds": (1,)}, {"method": Method(name="ties")}, {"allow_partial": True}):
        assert plan.model_copy(update=change).plan_id != plan.plan_id


def test_what_came_after_version_1_is_in_the_id_only_where_it_says_something(plan):
    bare = json.loads(plan.canonical_json())
    assert "vae" not in bare
    assert "clip_skip" not in bare["sampler"]
    vae = PlanVae(ref="/models/VAE/x.safetensors", sha256="ef" * 32)
    for change in ({"vae": vae}, {"sampler": Sampler(clip_skip=2)}):
        other = plan.model_copy(update=change)
        assert other.plan_id != plan.plan_id
        assert MergePlan.model_validate_json(other.canonical_json()) == other
        assert len(differences(plan, other)) == 1
    with pytest.raises(ValidationError):
        Sampler(clip_skip=0)


def test_a_plan_cannot_be_changed(plan):
    with pytest.raises(ValidationError):
        plan.prompt = "another"


@pytest.mark.parametrize(
    "change",
    [
        {"weight": float("nan")},
        {"weight": float("inf")},
        {"blocks": {"x": float("nan")}},
        {"sha256": "ab"},
        {"surprise": 1},
    ],
)
def test_malformed_experts_are_refused(plan, change):
    with pytest.raises(ValidationError):
        PlanExpert(**(plan.experts[0].model_dump() | change))


@pytest.mark.parametrize(
    "change",
    [{"seeds": ()}, {"version": 2}, {"sampler": {"steps": 0}}, {"sampler": {"guidance": float("nan")}}],
)
def test_malformed_plans_are_refused(plan, change):
    with pytest.raises(ValidationError):
        MergePlan.model_validate(plan.model_dump() | change)
    with pytest.raises(ValidationError, match="appears twice"):
        MergePlan.model_validate(plan.model_dump() | {"experts": plan.experts * 2})


def test_saved_and_loaded_it_is_the_same_plan(plan, tmp_path):
    plan.save(tmp_path / "plan.json")
    assert MergePlan.load(tmp_path / "plan.json") == plan
    with pytest.raises(UserError, match="cannot write"):
        plan.save(tmp_path / "nowhere" / "plan.json")


@pytest.mark.parametrize("text", ["", "[]", '{"version": 1}', "\xff"])
def test_a_file_that_is_no_plan_is_a_plan_error(tmp_path, text):
    (tmp_path / "plan.json").write_text(text, encoding="latin-1")
    with pytest.raises(PlanError, match="is not a merge plan"):
        MergePlan.load(tmp_path / "plan.json")
    with pytest.raises(PlanError, match="cannot read"):
        MergePlan.load(tmp_path / "gone.json")


def test_the_sampler_has_defaults():
    assert (Sampler().name, Sampler().width) == ("default", None)


def test_what_came_after_version_1_leaves_older_ids_alone_and_changes_the_id_when_used(plan):
    """The ids of plans that ship or are kept must not move: a field that says nothing is not in the JSON."""
    assert "schedule" not in plan.canonical_json()
    assert "components" not in plan.canonical_json()
    assert "schedule" not in json.loads(plan.model_dump_json())
    scheduled = plan.model_copy(update={"schedule": Switch()})
    part = plan.model_copy(update={"experts": (plan.experts[0].model_copy(update={"components": {"unet": 0.5}}),)})
    assert len({plan.plan_id, scheduled.plan_id, part.plan_id}) == 3
    for other in (scheduled, part):
        assert MergePlan.model_validate_json(other.model_dump_json()) == other
        assert MergePlan.model_validate_json(other.canonical_json()).plan_id == other.plan_id


def test_the_json_schema_accepts_what_the_plan_accepts_and_names_every_field(plan):
    schema = json_schema()
    assert set(schema["properties"]) == set(MergePlan.model_fields)
    assert set(schema["$defs"]) >= {"Switch", "Composite", "Ramp", "PlanExpert", "Sampler"}
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"base", "prompt"}
    assert set(json.loads(plan.model_dump_json())) <= set(schema["properties"])


def test_the_difference_of_two_plans_is_told_field_by_field(plan):
    ink = PlanExpert(id="ink", ref="r", sha256="ef" * 32)
    owl = plan.experts[0].model_copy(update={"weight": 0.7, "blocks": {}})
    other = plan.model_copy(
        update={"prompt": "two owls", "experts": (owl, ink), "method": Method(name="ties", params={"density": 0.5})}
    )
    text = [change.sentence() for change in differences(plan, other)]
    assert '  prompt: "an owl 🦉" -> "two owls"' in text
    assert "  experts[a].weight: 0.5 -> 0.7" in text
    assert "- experts[a].blocks.mid_block.*: 0.0" in text
    assert any(line.startswith("+ experts[ink]: {") for line in text)
    assert "+ method.params.density: 0.5" in text
    assert '  method.name: "linear" -> "ties"' in text
    assert len(text) == 6
    assert differences(other, other) == ()
    turned = other.model_copy(update={"experts": (ink, owl)})
    assert [c.field for c in differences(other, turned)] == ["order of experts"]
    assert [c.field for c in differences(plan, plan.model_copy(update={"schedule": Switch()}))] == ["schedule"]


def test_a_file_too_large_for_a_plan_is_not_read(tmp_path):
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(MAX_PLAN_BYTES + 1)
    with pytest.raises(PlanError, match="larger than 16 MiB"):
        MergePlan.load(tmp_path / "huge.json")
