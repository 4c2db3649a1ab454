"""Measure the streaming merge: checkpoints of SDXL's UNet (5 GB each in float16) merged to a file under a budget.

``python -m diffgraph.evals.bench.streaming --budget 1GB`` makes a base and two fine-tunes with the real UNet's names
and shapes and random weights, runs ``diffgraph merge`` on them as a person would, and prints the child's peak resident
memory (as the kernel counted it), its time, and the bytes it read and wrote.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...files.atomic import new_file, write_bytes
from ...merging.engine.free_memory import parse_bytes
from ...settings import Settings

SDXL_UNET: dict[str, Any] = {
    "sample_size": 128,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "block_out_channels": [320, 640, 1280],
    "layers_per_block": 2,
    "transformer_layers_per_block": [1, 2, 10],
    "attention_head_dim": [5, 10, 20],
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
"""What stands in the config.json of SDXL's UNet, where it differs from the class's defaults."""
_POOL = 2**22


def shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every weight of a UNet of this configuration; no weight is made."""
    import torch
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config)
    return {name: tuple(tensor.shape) for name, tensor in unet.state_dict().items()}


def write_random(path: Path, named: dict[str, tuple[int, ...]], seed: int) -> None:
    """A float16 weight file of these shapes; its values are drawn from a pool of normal numbers, so it is quick."""
    import torch

    from ...files.tensor_io import RowWriter, TensorEntry, ordered

    pool = (torch.randn(_POOL, generator=torch.Generator().manual_seed(seed)) * 0.02).to(torch.float16)
    entries = ordered(TensorEntry(name, "F16", shape) for name, shape in named.items())
    with new_file(path) as file:
        writer = RowWriter(file, entries, {"format": "pt"})
        for entry in entries:
            left = entry.nbytes // 2
            while left:
                writer.write(pool[: min(left, _POOL)])
                left -= min(left, _POOL)
            pool = pool.roll(1 + len(entry.name))
        writer.finish()


def prepare(folder: Path, config: dict[str, Any]) -> Path:
    """A base and two fine-tunes in ``folder``, and the plan that merges them."""
    from ...bases.index import BaseIndex
    from ...files.hashing import file_sha256
    from ...merging.plan.merge_plan import MergePlan, PlanBase, PlanExpert

    named = shapes(config)
    listing = {"_class_name": "StableDiffusionXLPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    for seed, name in enumerate(("base", "one", "two")):
        unet = folder / name / "unet"
        unet.mkdir(parents=True)
        write_random(unet / "diffusion_pytorch_model.safetensors", named, seed)
        write_bytes(folder / name / "model_index.json", json.dumps(listing).encode())
    files = {name: folder / name / "unet" / "diffusion_pytorch_model.safetensors" for name in ("one", "two")}
    experts = tuple(
        PlanExpert(id=name, ref=f"folder:{name}@0:unet", sha256=file_sha256(file), weight=weight)
        for (name, file), weight in zip(files.items(), (0.6, 0.4), strict=True)
    )
    base = PlanBase(ref="folder:base", family="sdxl", sha256=BaseIndex.open(folder / "base").sha256)
    plan = MergePlan(base=base, experts=experts, prompt="streamed")
    plan.save(folder / "plan.json")
    return folder / "plan.json"


def measure(folder: Path, plan: Path, budget: str) -> dict[str, Any]:
    """Run the merge in a process of its own.

    Returns:
        ``{"budget_mb", "peak_rss_mb", "seconds", "read_gb", "written_gb", "report"}``. Peak memory is ru_maxrss of the
        child, which on macOS is told in bytes.
    """
    command = [sys.executable, "-m", "diffgraph.cli.main", "merge", str(plan), "-o", str(folder / "merged.safetensors")]
    command += ["--as", "full", "--base", str(folder / "base"), "--stream-budget", budget, "--json", "--force"]
    command += ["--experts", str(folder / "one"), "--experts", str(folder / "two")]
    start = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise UserError(f"the merge ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    inputs = [file for name in ("base", "one", "two") for file in (folder / name).rglob("*.safetensors")]
    return {
        "budget_mb": parse_bytes(budget) / 1e6,
        "peak_rss_mb": peak / 1e6,
        "seconds": seconds,
        "read_gb": sum(file.stat().st_size for file in inputs) / 1e9,
        "written_gb": (folder / "merged.safetensors").stat().st_size / 1e9,
        "report": json.loads(done.stdout),
    }


def main() -> None:
    """Make the files, measure, print and keep the result in ``bench/stream.json`` of the home; the files go."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--budget", default="1GB", help="memory of the whole process")
    options.add_argument("--folder", type=Path, help="where the files go (21 GB for SDXL); default: a temporary one")
    options.add_argument("--narrow", action="store_true", help="a UNet of a sixteenth the size, to try this out")
    given = options.parse_args()
    config = SDXL_UNET | ({"block_out_channels": [64, 128, 320]} if given.narrow else {})
    folder = Path(tempfile.mkdtemp(prefix="diffgraph-stream-", dir=given.folder))
    try:
        result = measure(folder, prepare(folder, config), given.budget)
    finally:
        shutil.rmtree(folder)
    bench = Settings.load().root / "bench"
    bench.mkdir(parents=True, exist_ok=True)
    write_bytes(bench / "stream.json", json.dumps(result, indent=2).encode())
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
