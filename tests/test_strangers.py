"""Strangers' plug-ins, one distribution each, found by entry point and used in one run: base, critic, source, tool,
method, format.

Each distribution lies on the import path as pip leaves it: a module, and a .dist-info with an entry point. The run is a
process of its own, which knows them only by the settings.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

PACKAGES = {
    "bases": """
        from diffgraph.bases.profile import BaseProfile, MeasureRules, PairingRules
        from diffgraph.bases.registry import base

        @base("stranger")
        def profile(argument):
            return BaseProfile(
                name="stranger", where=f"{argument}/tiny-base", ref="stranger:tiny", title="a stranger's base",
                architecture="tiny", steps=2, guidance=1.0, composed_guidance=2.5, vocabulary="closed",
                critic="stranger:0.91", sources=(f"stranger:{argument}",),
                measure=MeasureRules(strengths=(0.0, 1.0), references=2, no_gain=-1.0, good_gain=-0.5),
                pairing=PairingRules(probes=1),
            )
    """,
    "critics": """
        from diffgraph.scoring.protocol import critic
        from diffgraph.scoring.request import Verdict

        @critic("stranger")
        class Kind:
            def __init__(self, setup):
                self.level, self.identity = float(setup.argument), f"kind {setup.argument}"

            def fits(self, base):
                return base.architecture == "tiny"

            def score(self, images, wanted):
                return [Verdict(score=self.level, facets={w.text: self.level for w in wanted}) for _ in images]
    """,
    "sources": """
        from pathlib import Path
        from diffgraph.graph.experts.sources import source
        from diffgraph.graph.experts.sources.folder import LocalRepos

        @source("stranger")
        class Attic(LocalRepos):
            name = "stranger"

            def __init__(self, root):
                super().__init__(Path(root))
    """,
    "tools": """
        from diffgraph.tools.context import Context
        from diffgraph.tools.tool import Args, Result, tool

        class Count(Result):
            count: int

        @tool("count_experts", agents=("planner",))
        def count_experts(ctx: Context, args: Args) -> Count:
            "How many experts the graph holds for this base."
            return Count(count=len(ctx.store.experts(ctx.family)))
    """,
    "merge_methods": """
        from diffgraph.merging.deltas.delta import add
        from diffgraph.merging.methods.method import MergeMethod, Params, register

        @register
        class Halves(MergeMethod[Params]):
            name = "stranger_halves"
            reference_url = "https://example.org/halves"

            def combine(self, parts, seed):
                return add([part.delta for part in parts], [part.weight / 2 for part in parts])
    """,
    "formats": """
        from math import prod
        from diffgraph.merging.deltas.delta import Delta
        from diffgraph.merging.formats.format import Format, TargetInfo, register
        from diffgraph.merging.formats.tensors import load_tensors

        END = ".stranger_diff"

        @register
        class StrangerDiff(Format):
            name = "stranger_diff"

            def detect(self, header):
                return "full" if all(key.endswith(END) for key in header.keys) else None

            def rank(self, header):
                return None

            def targets(self, files, base):
                shapes = {key: info.shape for header in files for key, info in header.tensors.items()}
                return {k.removesuffix(END): TargetInfo((k,), s[0], prod(s[1:])) for k, s in shapes.items()}

            def read(self, files, base):
                tensors = {key: t for header in files for key, t in load_tensors(header, header.keys).items()}
                return {key.removesuffix(END): Delta.of(tensor) for key, tensor in tensors.items()}
    """,
}

RUN = """
import json, sys
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from diffgraph.agents.brains.offline import OfflineBrain
from diffgraph.agents.calibrator import calibrate
from diffgraph.agents.runs.generate import generate
from diffgraph.agents.scout import scout
from diffgraph.settings import Settings
from diffgraph.tools.context import Context

told = []

class Curious(OfflineBrain):
    '''The offline brain, which counts the experts before it plans.'''

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        names = {tool["function"]["name"] for tool in kwargs.get("tools", [])}
        counted = [m for m in messages if isinstance(m, ToolMessage) and m.name == "count_experts"]
        if "count_experts" in names and not counted:
            call = {"name": "count_experts", "args": {}, "id": "count"}
            return ChatResult(generations=[ChatGeneration(message=AIMessage("", tool_calls=[call]))])
        told.extend(json.loads(str(m.content)) for m in counted[:1] if not told)
        return super()._generate(messages, stop, run_manager, **kwargs)

with Context.open(Settings.load()) as ctx:
    registered, refused = scout(ctx)
    done = [one.model_dump() for one in calibrate(ctx)]
    kinds = {e.id: e.kind for e in registered}
    result = generate("octopus, blueprint style", seed=3, compare=False, context=ctx, brain=Curious())
    assert result.plan, (result.message, result.notes, done, refused)
    merge = ctx.images_dir(result.plan.plan_id) / "merge.json"
    out = {
        "kinds": kinds, "refused": [str(one) for one in refused], "calibrated": done,
        "calibrations": [c.model_dump(mode="json") for c in ctx.store.calibrations()],
        "plan": result.plan.model_dump(mode="json"), "status": result.status, "uncovered": result.uncovered,
        "images": [str(path) for path in result.images], "score": result.scores.score, "told": told,
        "merge": json.loads(merge.read_text()), "critic": ctx.critic.identity,
    }
print(json.dumps(out))
"""


def tiny_world() -> ModuleType:
    """The module that makes tiny pipelines and experts."""
    path = Path(__file__).parent / "agents" / "tiny_world.py"
    spec = importlib.util.spec_from_file_location("diffgraph_tests_tiny_world_of_strangers", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lay(shelf: Path) -> None:
    """One distribution a plug-in, as pip would put them there."""
    for sort, code in PACKAGES.items():
        module = f"stranger_{sort}"
        info = shelf / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[diffgraph.{sort}]\nstranger = {module}\n")
        lines = [line.removeprefix("        ") for line in code.strip("\n").splitlines()]
        (shelf / f"{module}.py").write_text("\n".join(lines).rstrip() + "\n")


def hub(folder: Path) -> Path:
    """A base with its card, a LoRA, and an expert in the stranger's own format."""
    tiny = tiny_world()
    tiny._base(folder / "tiny-base")
    tiny.card(folder / "tiny-base", "Tiny base", "", "## Skills\n- pizza\n- castle\n", tags="[base]")
    tiny.lora(folder / "blueprint", 2, "Blueprint", "- blueprint style\n", tags="[lora, style]", base="tiny-base")
    tiny.card(folder / "sea-life", "Sea life", "tiny-base", "## Skills\n- octopus\n")
    weights = load_file(folder / "tiny-base" / "unet" / "diffusion_pytorch_model.safetensors")
    generator = torch.Generator().manual_seed(1)
    changed = {
        f"unet.{name}.stranger_diff": torch.randn(tensor.shape, generator=generator) * 0.1
        for name, tensor in weights.items()
        if name.endswith("attn2.to_v.weight")
    }
    save_file(changed, folder / "sea-life" / "octopus.safetensors")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process made of a prompt, with all six plug-ins installed and named by the settings alone."""
    root = tmp_path_factory.mktemp("strangers")
    lay(root / "shelf")
    experts = hub(root / "hub")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DIFFGRAPH_")},
        "PYTHONPATH": os.pathsep.join([str(root / "shelf"), *(p for p in sys.path if p)]),
        "DIFFGRAPH_HOME": str(root / "home"),
        "DIFFGRAPH_BASE": f"stranger:{experts}",
        "DIFFGRAPH_METHOD": "stranger_halves",
        "DIFFGRAPH_DEVICE": "cpu",
        "DIFFGRAPH_SURE": "0.9",
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN], env=environment, cwd=root, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_the_base_says_how_it_draws(run: dict[str, Any]) -> None:
    plan = run["plan"]
    assert (plan["base"]["ref"], plan["base"]["family"]) == ("stranger:tiny", "tiny")
    assert (plan["sampler"]["steps"], plan["sampler"]["guidance"]) == (2, 2.5)


def test_the_source_is_asked_because_the_base_names_it(run: dict[str, Any]) -> None:
    assert set(run["kinds"]) == {"stranger/tiny-base", "stranger/blueprint", "stranger/sea-life"}
    assert run["refused"] == []
    assert {e["ref"].partition(":")[0] for e in run["plan"]["experts"]} == {"stranger"}


def test_the_format_is_registered_and_merged(run: dict[str, Any]) -> None:
    assert run["kinds"]["stranger/sea-life"] == "full"
    merged = {e["id"]: e for e in run["merge"]["experts"]}
    assert merged["stranger/sea-life"]["coverage"] == 1.0
    assert merged["stranger/sea-life"]["norm"] > 0


def test_the_method_merges_the_company(run: dict[str, Any]) -> None:
    assert run["plan"]["method"]["name"] == run["merge"]["method"] == "stranger_halves"
    assert {e["id"] for e in run["plan"]["experts"]} == {"stranger/blueprint", "stranger/sea-life"}


def test_the_critic_measures_and_judges(run: dict[str, Any]) -> None:
    assert run["critic"] == "kind 0.91"
    assert run["score"] == 0.91
    assert run["status"] == "accepted"
    assert len(run["images"]) == 1
    found = {c["expert_id"]: c for c in run["calibrations"]}
    assert set(found) == {"stranger/blueprint", "stranger/sea-life"}
    # It pleases everybody alike, so nobody gains over the base, and by the stranger's rules that is enough. It does not
    # embed, so there is no fingerprint.
    assert all((c["verdict"], c["best_weight"]) == ("works", 1.0) for c in found.values())
    assert all(
        (c["direction"], c["strength_shift"], c["gain"]["style" if "blue" in i else "subject"]) == ([], None, 0)
        for i, c in found.items()
    )


def test_the_tool_answers_the_planner(run: dict[str, Any]) -> None:
    assert run["told"] == [{"count": 2}]
