"""The same plan gives the same bytes: in another process, under another hash seed, from files in another order."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import torch

from diffgraph.merging.engine.engine import Engine
from diffgraph.merging.plan.merge_plan import MergePlan
from diffgraph.merging.sampling.pipeline import render


def digests(engine: Engine, plans: list[MergePlan], paths: dict[str, str]) -> dict[str, str]:
    """Hashes of the weights that each plan leaves, and of the pixels of the last one."""
    found = {}
    for plan in plans:
        engine.apply(plan, lambda expert: Path(paths[expert.id]))
        digest = hashlib.sha256()
        for target, weight in sorted(engine.weights.items()):
            digest.update(target.encode() + weight.flatten().view(torch.uint8).numpy().tobytes())
        found[plan.method.name] = digest.hexdigest()
    (image,) = render(engine, plans[-1], lambda expert: Path(paths[expert.id]))
    return found | {"image": hashlib.sha256(image.tobytes()).hexdigest(), "base": engine.fingerprint()}


def main() -> None:
    task = json.load(sys.stdin)
    plans = [MergePlan.model_validate(plan) for plan in task["plans"]]
    print(json.dumps(digests(Engine(task["base"], "cpu"), plans, task["paths"])))


def started(world, plans: list[MergePlan], hash_seed: str) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )
    paths = {name: str(path) for name, path in world.paths.items()}
    data = {"base": str(world.base_dir), "plans": [p.model_dump(mode="json") for p in plans], "paths": paths}
    assert child.stdin is not None
    child.stdin.write(json.dumps(data))
    child.stdin.close()
    return child


def test_fresh_processes_and_an_engine_after_many_switches_agree(world, engine):
    experts = [world.expert("owl", 0.7), world.expert("ink", 0.6, "style"), world.expert("stars", -0.3, "background")]
    methods = ["dare", "ties", "np_lora", "linear"]
    plans = [world.plan(*experts, method=method) for method in methods]
    turned = [world.plan(*experts[::-1], method=method) for method in methods]
    children = [started(world, plans, "0"), started(world, turned, "4242")]
    draw = random.Random(7)
    for _ in range(100):
        names = draw.sample(["owl", "ink", "stars", "tuned"], draw.randint(0, 3))
        some = world.plan(*(world.expert(name, draw.uniform(-1, 1)) for name in names), method=draw.choice(methods))
        engine.apply(some, world.locate)
    here = digests(engine, plans, {name: str(path) for name, path in world.paths.items()})
    for child in children:
        with child:
            assert child.stdout is not None
            text = child.stdout.read()
        assert child.returncode == 0
        assert json.loads(text) == here


if __name__ == "__main__":
    main()
