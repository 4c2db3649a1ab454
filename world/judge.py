"""The embedded world's judge: tells subject, style and background of an image, for evaluations only.

It shares nothing with the critic that a request is steered by: another architecture (depthwise 5x5 and inverted
bottlenecks, as in ConvNeXt, arXiv 2201.03545), another loss (softmax over classes, each head with a class
"none of them"), another split, other augmentation, another seed. Only evaluations reach it, through the entry point
``diffgraph.judges``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..bases.profile import BaseProfile
from ..evals.judges.protocol import Judgement, judge
from ..files.hashing import file_sha256
from ..scoring.request import Wanted, normal
from . import WorldMissing, world_dir
from .profile import folder_of

HEADS = ("subject", "style", "background")
SIDE = 64
WEIGHTS = "model.safetensors"
NONE = "none of them"
"""The class of every head for images that show none of the known things."""


class Block(nn.Module):
    """Depthwise 5x5 with batch norm, then a pair of 1x1 convolutions three times as wide, around a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depth = nn.Conv2d(width, width, 5, 1, 2, groups=width, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.up, self.down = nn.Conv2d(width, 3 * width, 1), nn.Conv2d(3 * width, width, 1)
        self.gate = nn.Parameter(torch.full((width, 1, 1), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gate * self.down(F.silu(self.up(self.norm(self.depth(x)))))


def _halve(cin: int, cout: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(cin, cout, 3, 2, 1, bias=False), nn.BatchNorm2d(cout), nn.SiLU())


class JudgeNet(nn.Module):
    """(n, 3, 64, 64) in [-1, 1] -> logits per head (last class: none) and a unit embedding (n, 64)."""

    def __init__(self, classes: dict[str, int], widths: Sequence[int] = (64, 128, 256), embed: int = 64) -> None:
        super().__init__()
        self.widths = list(widths)
        a, b, c = widths
        self.body = nn.Sequential(
            _halve(3, a // 2), _halve(a // 2, a), Block(a), Block(a),
            _halve(a, b), Block(b), Block(b),
            _halve(b, c), Block(c), nn.BatchNorm2d(c), nn.SiLU(),
        )  # fmt: skip
        width = c * 16
        self.heads = nn.ModuleDict({h: nn.Linear(width if h == "subject" else 2 * c, classes[h] + 1) for h in HEADS})
        self.embed = nn.Linear(2 * c, embed)
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        y = self.body(x).float()
        pooled = torch.cat([y.mean((2, 3)), y.amax((2, 3))], dim=1)
        places = self.drop(y.flatten(1))
        logits = {h: self.heads[h](places if h == "subject" else pooled).float() for h in HEADS}
        return logits, F.normalize(self.embed(pooled).float(), dim=-1)


class WorldJudge:
    """The trained judge, a `Judge`. ``WorldJudge.load(folder)`` reads ``config.json`` and ``model.safetensors``."""

    def __init__(self, net: JudgeNet, classes: dict[str, list[str]], folder: Path | None = None) -> None:
        self.net = net.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.classes = classes
        self.folder = folder

    @classmethod
    def load(cls, folder: Path) -> WorldJudge:
        """Raises WorldMissing if a file is absent or damaged."""
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            state = load_file(folder / WEIGHTS)
        except (OSError, ValueError, SafetensorError) as error:
            raise WorldMissing(f"The judge in {folder} cannot be read ({error}). `make world` rebuilds it.") from error
        net = JudgeNet({h: len(config["classes"][h]) for h in HEADS}, config["widths"], config["embed"])
        net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
        return cls(net, config["classes"], folder)

    def save(self, folder: Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` (fp16)."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in self.net.state_dict().items()}
        save_file(state, folder / WEIGHTS)
        config = {"classes": self.classes, "widths": self.net.widths, "embed": self.net.embed.out_features}
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")

    @cached_property
    def digest(self) -> str:
        """sha256 of the weights' file."""
        if self.folder is None:
            raise ValueError("a judge that was never saved has no digest")
        return file_sha256(self.folder / WEIGHTS)

    @torch.inference_mode()
    def judge(self, images: Sequence[Image.Image], wanted: Sequence[Wanted]) -> list[Judgement]:
        """One judgement an image, in order. A text that it has no class for is never shown, at chance 0.0.

        Raises:
            KeyError: a facet without a head.
        """
        if not images:
            return []
        logits, _ = self.net(self._pixels(images))
        chances = {h: logits[h].softmax(1) for h in HEADS}
        best = {h: chances[h].argmax(1) for h in HEADS}
        out = []
        for i in range(len(images)):
            seen = {h: [*self.classes[h], NONE][int(best[h][i])] for h in HEADS}
            hits = {w.facet: normal(seen[w.facet], w.facet) == normal(w.text, w.facet) for w in wanted}
            chance = {w.facet: self._chance(chances[w.facet][i], w) for w in wanted}
            out.append(Judgement(hits=hits, chance=chance, seen=seen))
        return out

    def _chance(self, of_class: Tensor, wanted: Wanted) -> float:
        names = [normal(c, wanted.facet) for c in self.classes[wanted.facet]]
        text = normal(wanted.text, wanted.facet)
        return float(of_class[names.index(text)]) if text in names else 0.0

    @torch.inference_mode()
    def similarity(self, images: Sequence[Image.Image], truths: Sequence[Image.Image]) -> list[float]:
        """Cosine (-1..1) between the embeddings of image i and true image i."""
        if len(images) != len(truths):
            raise ValueError("similarity needs one true image for every image")
        if not images:
            return []
        _, a = self.net(self._pixels(images))
        _, b = self.net(self._pixels(truths))
        return [float(v) for v in (a * b).sum(1)]

    @staticmethod
    def _pixels(images: Sequence[Image.Image]) -> Tensor:
        rows = [np.asarray(i.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS), np.uint8) for i in images]
        x = torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).float() / 127.5 - 1
        return x.contiguous(memory_format=torch.channels_last)


@judge("world")
def world_judge(base: BaseProfile) -> WorldJudge:
    """The judge of the world that the base is of, else of the one that is here. Raises WorldMissing."""
    folder = folder_of(base) if base.name == "world" else world_dir()
    return WorldJudge.load(folder / "scorers" / "judge")
