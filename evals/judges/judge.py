"""The judge: tells subject, style and background of an image, for evaluations only.

It shares nothing with the critic that a request is steered by: another architecture (depthwise 5x5 and inverted
bottlenecks, as in ConvNeXt, arXiv 2201.03545), another loss (softmax over classes, each head with a class
"none of them"), another split, other augmentation, another seed. Only ``evals/`` and its own trainer may import it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ...errors import WorldMissing
from ...scoring.request import normal

HEADS = ("subject", "style", "background")
SIDE = 64
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


@dataclass(frozen=True)
class Judgement:
    """What the judge sees in one image: the likeliest class and its probability, per head."""

    subject: str
    style: str
    background: str
    chance: dict[str, float]

    def shows(self, facet: str, text: str) -> bool:
        """Whether the likeliest class of ``facet`` is ``text``. KeyError for a facet without a head."""
        seen = {"subject": self.subject, "style": self.style, "background": self.background}[facet]
        return normal(seen, facet) == normal(text, facet)


class Judge:
    """The trained judge. ``Judge.load(folder)`` reads ``config.json`` and ``model.safetensors``."""

    def __init__(self, net: JudgeNet, classes: dict[str, list[str]]) -> None:
        self.net = net.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.classes = classes

    @classmethod
    def load(cls, folder: Path) -> Judge:
        """Raises WorldMissing if a file is absent or damaged."""
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            state = load_file(folder / "model.safetensors")
        except (OSError, ValueError, SafetensorError) as error:
            raise WorldMissing(f"The judge in {folder} cannot be read ({error}). `make world` rebuilds it.") from error
        net = JudgeNet({h: len(config["classes"][h]) for h in HEADS}, config["widths"], config["embed"])
        net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
        return cls(net, config["classes"])

    def save(self, folder: Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` (fp16)."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in self.net.state_dict().items()}
        save_file(state, folder / "model.safetensors")
        config = {"classes": self.classes, "widths": self.net.widths, "embed": self.net.embed.out_features}
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")

    @torch.inference_mode()
    def look(self, images: Sequence[Image.Image]) -> list[Judgement]:
        """One judgement an image, in order."""
        if not images:
            return []
        logits, _ = self.net(self._pixels(images))
        best = {h: logits[h].softmax(1).max(1) for h in HEADS}
        out = []
        for i in range(len(images)):
            seen = {h: [*self.classes[h], NONE][int(best[h].indices[i])] for h in HEADS}
            chance = {h: round(float(best[h].values[i]), 4) for h in HEADS}
            out.append(Judgement(seen["subject"], seen["style"], seen["background"], chance))
        return out

    @torch.inference_mode()
    def chance(self, images: Sequence[Image.Image], facet: str, text: str) -> list[float]:
        """Probability of class ``text`` of ``facet`` in every image; 0.0 for a text the judge has no class for."""
        names = [normal(c, facet) for c in self.classes[facet]]
        if normal(text, facet) not in names:
            return [0.0] * len(images)
        logits, _ = self.net(self._pixels(images))
        return [float(p) for p in logits[facet].softmax(1)[:, names.index(normal(text, facet))]]

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
