"""Bench: the memory that `plan.memory` promises for drawing an image, held against the peak of a run.

A pipeline of Stable Diffusion 1.5's build with random weights, in two sizes, draws in processes of their own; the peak
is that of their resident memory over what Python and its libraries take. ``python -m
diffgraph.evals.bench.memory_bench`` prints promise and peak side by side.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

WIDTHS = {"tiny": (32, 64, 64, 64), "middle": (160, 320, 640, 640), "full": (320, 640, 1280, 1280)}
"""Channels of the UNet's levels; "full" is Stable Diffusion 1.5 itself."""


class Case(BaseModel):
    """One run: which build, how large an image, how many at once."""

    model_config = ConfigDict(frozen=True)

    build: str
    side: int
    images: int


class Measured(BaseModel):
    """Promise and peak of one run, in bytes."""

    model_config = ConfigDict(frozen=True)

    case: Case
    promised: int
    peak: int

    @property
    def ratio(self) -> float:
        """Promise over peak."""
        return self.promised / self.peak

    def sentence(self) -> str:
        c = self.case
        return (
            f"{c.build:6} {c.side}x{c.side} batch {c.images}: promised {self.promised / 2**20:6.0f} MiB, "
            f"peak {self.peak / 2**20:6.0f} MiB, ratio {self.ratio:.2f}"
        )


CASES = (
    Case(build="tiny", side=256, images=1),
    Case(build="tiny", side=512, images=1),
    Case(build="tiny", side=512, images=4),
    Case(build="middle", side=256, images=1),
    Case(build="middle", side=512, images=1),
    Case(build="middle", side=512, images=2),
)


def build(folder: Path, widths: tuple[int, ...]) -> None:
    """Write a pipeline of Stable Diffusion 1.5's build with random weights."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    wide = 12 * (widths[0] * 768 // 320 // 12)
    letters = [*"abcdefghijklmnopqrstuvwxyz", *(f"{c}</w>" for c in "abcdefghijklmnopqrstuvwxyz")]
    vocab = {token: at for at, token in enumerate(["<|startoftext|>", "<|endoftext|>", *letters])}
    text = CLIPTextConfig(
        vocab_size=len(vocab), hidden_size=wide, intermediate_size=4 * wide, num_hidden_layers=12,
        num_attention_heads=12, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=64, block_out_channels=widths, cross_attention_dim=wide, attention_head_dim=8, norm_num_groups=32
    )
    vae = AutoencoderKL(
        block_out_channels=tuple(max(32, width * 128 // 320 // 32 * 32) for width in (*widths[:3], widths[2])),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        sample_size=512,
    )
    StableDiffusionPipeline(
        vae=vae, text_encoder=CLIPTextModel(text), tokenizer=CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77),
        unet=unet, scheduler=DDIMScheduler(clip_sample=False, steps_offset=1), safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip


def measured(folder: Path, case: Case) -> Measured:
    """Draw a case in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-m", f"{__package__}.memory_bench", "--one", str(folder), case.model_dump_json()],
        check=True,
        capture_output=True,
        text=True,
    )
    return Measured.model_validate_json(run.stdout.splitlines()[-1])


def measure_all(cases: tuple[Case, ...] = CASES) -> Iterator[Measured]:
    """All cases, one after the other."""
    with tempfile.TemporaryDirectory() as root:
        for case in cases:
            folder = Path(root) / case.build
            if not folder.is_dir():
                build(folder, WIDTHS[case.build])
            yield measured(folder, case)


def _draw(folder: Path, case: Case) -> Measured:
    """In this process: load, draw, and read off the most memory that it ever had."""
    import resource

    import diffusers
    import torch
    from transformers import CLIPTextModel, CLIPTokenizer

    from ...bases.profile import Size
    from ...merging.engine.engine import Engine
    from ...merging.engine.free_memory import resident_bytes
    from ...merging.plan.memory import DeviceMemory, Room, Wanted, place
    from ...merging.plan.merge_plan import MergePlan, PlanBase, Sampler
    from ...merging.sampling.pipeline import render

    lazily = diffusers.StableDiffusionPipeline, CLIPTextModel, CLIPTokenizer
    torch.randn(64, 64) @ torch.randn(64, 64)
    before = resident_bytes() if all(lazily) else 0
    engine = Engine(folder, device="cpu")
    base = PlanBase(ref="bench", family="sd15", sha256=engine.base.sha256)
    sampler = Sampler(steps=1, guidance=5.0, width=case.side, height=case.side)
    plan = MergePlan(base=base, prompt="a fox", sampler=sampler, seeds=tuple(range(case.images)))
    render(engine, plan, lambda expert: Path(expert.ref), batch_size=case.images)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    room = Room(
        memory=DeviceMemory(device="cpu", total=0, free=0),
        size=Size(width=case.side, height=case.side),
        wanted=Wanted(batch=case.images),
    )
    return Measured(case=case, promised=place(engine.base, room).peak, peak=peak)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(_draw(Path(sys.argv[2]), Case.model_validate(json.loads(sys.argv[3]))).model_dump_json())
    else:
        for one in measure_all():
            print(one.sentence(), flush=True)
