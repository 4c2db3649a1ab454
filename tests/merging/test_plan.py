"""Plans are frozen, canonical data, and plug-ins are found by name."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json

import pytest
from pydantic import ValidationError

from diffgraph.errors import PlanError, UserError
from diffgraph.merging.plan import MergePlan, Method, PlanBase, PlanExpert, Sampler
from diffgraph.merging.registry import Registry


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


def test_plug_ins_of_other_distributions_are_found_by_entry_point(monkeypatch):
    registry: Registry[str] = Registry("merge method", "diffgraph.merging.methods", "diffgraph.test_group")

    class Entry:
        def load(self):
            registry.add("from_outside", "hello")

    found = importlib.metadata.entry_points
    monkeypatch.setattr(
        importlib.metadata,
        "entry_points",
        lambda **k: [Entry()] if k["group"] == "diffgraph.test_group" else found(**k),
    )
    assert registry.get("from_outside") == "hello"
    with pytest.raises(PlanError, match="did you mean from_outside"):
        registry.get("from_outsid")
    with pytest.raises(PlanError, match="from_outside"):
        registry.get("zzz")
