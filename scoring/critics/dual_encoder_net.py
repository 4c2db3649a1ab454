"""A dual encoder's network: a small residual image tower and a projection of sentence vectors, one space per facet.

Loss and probabilities are SigLIP's (arXiv 2303.15343, eq. 1): ``p = sigmoid(s * <image, text> + b)`` with ``s``, ``b``
learned per facet, so that a probability says "this image shows this", not "more than the other texts".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class CriticConfig:
    """What the network judges, and its sizes.

    Attributes:
        facets: what it tells apart, each in a space of its own.
        placed: those of them that lie in what is where; the others lie in statistics of the whole image.
        size: side of the square that images are brought to, in pixels; a multiple of ``2 ** len(widths)``.
        widths: channels of the image tower, from fine to coarse; each halves the side.
        embed: dimensions of a facet's space.
        text_dim, text_hidden: dimensions of a sentence vector, and of the layer behind it.
    """

    facets: tuple[str, ...]
    placed: tuple[str, ...]
    size: int
    widths: tuple[int, ...] = (32, 64, 128, 224)
    embed: int = 96
    text_dim: int = 384
    text_hidden: int = 256

    def to_json(self) -> dict[str, object]:
        """What ``config.json`` keeps. Facets are its banks' names; the size shows in the weights of a placed facet."""
        sizes = {"embed": self.embed, "text_dim": self.text_dim, "text_hidden": self.text_hidden}
        return {"widths": list(self.widths), **sizes, **({} if self.placed else {"size": self.size})}

    @classmethod
    def from_json(cls, data: Mapping[str, object], inputs: Mapping[str, int]) -> CriticConfig:
        """The configuration of a stored network; ``inputs`` gives the width of each facet's head.

        Raises:
            ValueError: it is none of this kind of network.
        """
        widths = data["widths"]
        if not isinstance(widths, list) or not widths:
            raise ValueError("widths must be a list")
        last = int(widths[-1])
        placed = tuple(facet for facet, width in inputs.items() if width != 2 * last)
        side = isqrt(inputs[placed[0]] // last) if placed else 0
        if any(inputs[facet] != last * side**2 for facet in placed):
            raise ValueError("its heads are of no width that such a network has")
        return cls(
            facets=tuple(inputs),
            placed=placed,
            size=side * 2 ** len(widths) if placed else int(str(data["size"])),
            widths=tuple(int(w) for w in widths),
            embed=int(str(data["embed"])),
            text_dim=int(str(data["text_dim"])),
            text_hidden=int(str(data["text_hidden"])),
        )


class Residual(nn.Module):
    """Two 3x3 convolutions with batch norm around a skip; ``stride`` 2 halves the side."""

    def __init__(self, cin: int, cout: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(cout)
        same = cin == cout and stride == 1
        self.skip: nn.Module = nn.Identity() if same else nn.Conv2d(cin, cout, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.skip(x) + self.norm2(self.conv2(y)))


SPREAD_FLOOR = 1e-3


class TextProjection(nn.Module):
    """Sentence vectors (n, text_dim) -> unit vectors (n, embed) in one facet's space."""

    mean: Tensor
    spread: Tensor

    def __init__(self, config: CriticConfig) -> None:
        super().__init__()
        # Sentence vectors share a large common part; without it they start well apart.
        self.register_buffer("mean", torch.zeros(config.text_dim))
        self.register_buffer("spread", torch.ones(config.text_dim))
        self.hidden = nn.Linear(config.text_dim, config.text_hidden)
        self.out = nn.Linear(config.text_hidden, config.embed)

    def fit(self, features: Tensor) -> None:
        """Take mean and spread of a bank of sentence vectors (n, text_dim)."""
        self.mean.copy_(features.mean(0))
        self.spread.copy_(features.std(0))

    def forward(self, x: Tensor) -> Tensor:
        # MiniLM has dimensions that hardly vary at all; in half precision their spread is zero.
        x = (x - self.mean) / self.spread.clamp_min(SPREAD_FLOOR)
        return F.normalize(self.out(F.gelu(self.hidden(x))).float(), dim=-1)


class DualEncoder(nn.Module):
    """Image tower with one head and one text projection a facet."""

    def __init__(self, config: CriticConfig) -> None:
        super().__init__()
        self.config = config
        stem, *rest = config.widths
        blocks: list[nn.Module] = [nn.Conv2d(3, stem, 4, 2, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU()]
        cin = stem
        for i, width in enumerate(rest):
            blocks.append(Residual(cin, width, 2))
            if i < len(rest) - 1:
                blocks.append(Residual(width, width))
            cin = width
        self.tower = nn.Sequential(*blocks)
        facets, side = config.facets, config.size // 2 ** len(config.widths)
        self.pooled, self.width = 2 * cin, 2 * cin + cin * side * side
        sizes = {f: self.width - self.pooled if f in config.placed else self.pooled for f in facets}
        self.heads = nn.ModuleDict({f: nn.Linear(sizes[f], config.embed) for f in facets})
        self.texts = nn.ModuleDict({f: TextProjection(config) for f in facets})
        self.scale = nn.ParameterDict({f: nn.Parameter(torch.tensor(2.8)) for f in facets})
        first = {f: torch.tensor(-8.0 if f in config.placed else -6.0) for f in facets}
        self.bias = nn.ParameterDict({f: nn.Parameter(value) for f, value in first.items()})

    def features(self, x: Tensor) -> Tensor:
        """Pixels (n, 3, size, size) in [-1, 1] -> (n, ``width``): channel means, channel maxima, and all places."""
        maps = self.tower(x)
        return torch.cat([maps.mean((2, 3)), maps.amax((2, 3)), maps.flatten(1)], dim=1)

    def images(self, x: Tensor) -> dict[str, Tensor]:
        """Pixels (n, 3, size, size) in [-1, 1] -> {facet: unit vectors (n, embed)}."""
        return self.project(self.features(x))

    def project(self, flat: Tensor) -> dict[str, Tensor]:
        """Features (n, ``width``) -> {facet: unit vectors (n, embed)}."""
        whole, places = flat[:, : self.pooled], flat[:, self.pooled :]
        placed = self.config.placed
        return {f: F.normalize(h(places if f in placed else whole).float(), dim=-1) for f, h in self.heads.items()}

    def logits(self, facet: str, image: Tensor, text: Tensor) -> Tensor:
        """Unit vectors (n, embed), (m, embed) -> logits (n, m) of "image i shows text j"."""
        return image @ text.T * self.scale[facet].exp() + self.bias[facet]
