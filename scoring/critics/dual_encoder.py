"""A critic that judges images facet by facet with a small image-text dual encoder, for bases that it was trained for.

The folder holds ``config.json`` (sizes, the texts that it was trained on, per-facet calibration) and
``model.safetensors`` (fp16 weights and the projected vectors of those texts). A text outside that bank needs
``embed_text``, which a caller hands in; without it the facet is reported as one the critic does not know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...bases.profile import BaseProfile
from ...errors import UserError
from ...settings import user_path
from ..protocol import CriticSetup, EmbedText, critic, files_identity
from ..request import Verdict, Wanted, harmonic_mean, normal
from .dual_encoder_net import CriticConfig, DualEncoder

FILES = ("config.json", "model.safetensors")
_UNSURE = 0.5
_APART = 0.02
"""By how much more likely what is seen instead must be."""


def to_pixels(images: Sequence[Image.Image], size: int) -> Tensor:
    """PIL images -> float32 (n, 3, size, size) in [-1, 1]; resized (bicubic) where they are of another size."""
    arrays = []
    for image in images:
        rgb = image.convert("RGB")
        if rgb.size != (size, size):
            rgb = rgb.resize((size, size), Image.Resampling.BICUBIC)
        arrays.append(np.asarray(rgb, dtype=np.uint8))
    stacked = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
    return stacked.to(torch.float32).div(127.5).sub(1.0).contiguous(memory_format=torch.channels_last)


def write_critic(
    folder: Path,
    net: DualEncoder,
    bank: Mapping[str, tuple[Sequence[str], Sequence[str], Tensor]],
    calibration: Mapping[str, tuple[float, float]],
) -> None:
    """Write ``config.json`` and ``model.safetensors`` (fp16).

    Args:
        bank: facet -> (texts in normal form, what each is called, sentence vectors (n, text_dim)).
        calibration: facet -> slope and shift that turn a logit into that of a calibrated probability.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.half() if v.is_floating_point() else v for k, v in net.state_dict().items()}
    texts = {}
    with torch.no_grad():
        for facet, (known, names, features) in bank.items():
            tensors[f"bank.{facet}"] = net.texts[facet](features).half()
            texts[facet] = {"texts": list(known), "names": list(names)}
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "model.safetensors")
    config = {"net": net.config.to_json(), "calibration": dict(calibration), "bank": texts}
    text = json.dumps(config, indent=1, ensure_ascii=False) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")


@dataclass
class FacetBank:
    """The known texts of one facet: ``names[i]`` is what text i is called in sentences; ``vectors`` is (n, embed)."""

    texts: list[str]
    names: list[str]
    vectors: Tensor
    index: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.index = {t: i for i, t in enumerate(self.texts)}


class Critic:
    """Scores images against wanted facets. Build it with ``Critic.load`` (or ``Critic(folder=...)``).

    Its facets are the banks in its configuration; the size that it sees images at is its network's.
    """

    def __init__(
        self,
        folder: Path,
        *,
        embed_text: EmbedText | None = None,
        device: str = "cpu",
        by: str = "",
        called: Mapping[tuple[str, str], str] | None = None,
    ) -> None:
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            tensors = load_file(folder / "model.safetensors")
            facets = tuple(config["bank"])
            inputs = {facet: tensors[f"heads.{facet}.weight"].shape[1] for facet in facets}
            self.net = DualEncoder(CriticConfig.from_json(config["net"], inputs))
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise UserError(f"The critic in {folder} cannot be read ({error}).") from error
        self.folder = folder
        self.by = by or f"dual_encoder:{folder.name}"
        self.called = called or {}
        self.facets = facets
        self.embed_text = embed_text
        self.device = torch.device(device)
        self.calibration: dict[str, tuple[float, float]] = {
            f: (float(config["calibration"][f][0]), float(config["calibration"][f][1])) for f in facets
        }
        self.banks: dict[str, FacetBank] = {}
        for facet in facets:
            vectors = tensors.pop(f"bank.{facet}").float()
            entry = config["bank"][facet]
            self.banks[facet] = FacetBank(entry["texts"], entry["names"], vectors.to(self.device))
        self.net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()})
        self.net.eval().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        embed_text: EmbedText | None = None,
        device: str = "cpu",
        by: str = "",
        called: Mapping[tuple[str, str], str] | None = None,
    ) -> Critic:
        """Read a critic from ``folder``; ``by`` is what its verdicts call it, ``called`` what they call a name of a
        facet that is not for people. Raises UserError if a file is absent or damaged.
        """
        return cls(folder, embed_text=embed_text, device=device, by=by, called=called)

    @property
    def identity(self) -> str:
        """Hash of its configuration and weights."""
        return files_identity(self.folder / name for name in FILES)

    def fits(self, base: BaseProfile) -> bool:
        """True: a folder of weights does not say what it was trained for, and whoever named it knows."""
        return True

    @torch.inference_mode()
    def embed(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Images -> float32 (n, facets * embed) unit vectors (the facets' spaces side by side)."""
        if not images:
            return np.zeros((0, len(self.facets) * self.net.config.embed), dtype=np.float32)
        parts = self._images(images)
        joined = torch.cat([parts[f] for f in self.facets], dim=1) / len(self.facets) ** 0.5
        return joined.cpu().numpy()

    @torch.inference_mode()
    def score(self, images: Sequence[Image.Image], wanted: Sequence[Wanted]) -> list[Verdict]:
        """One verdict an image, in order; the same request holds for all of them."""
        if not images:
            return []
        parts = self._images(images)
        rows: list[dict[str, float]] = [{} for _ in images]
        findings: list[list[str]] = [[] for _ in images]
        seen: list[dict[str, str]] = [{} for _ in images]
        texts = {want: self._text(want) for want in wanted if want.facet in self.facets}
        asked = self._asked(parts, texts)
        for want in wanted:
            if want.facet not in self.facets:
                for found in findings:
                    found.append(f"The critic does not judge the facet {want.facet!r} ({want.text!r}).")
                continue
            vector, known = texts[want]
            if vector is None:
                for row, found in zip(rows, findings, strict=True):
                    row[want.text] = 0.0
                    found.append(f"The critic does not know the {want.facet} {want.text!r}.")
                continue
            chance = self._probability(want.facet, parts[want.facet], vector[None])[:, 0].tolist()
            for i, p in enumerate(chance):
                rows[i][want.text] = p
                if not known:
                    findings[i].append(f"{want.text!r} is outside the critic's bank: its {p:.2f} is a guess.")
                if p < _UNSURE:
                    # What is as likely as another thing that was asked for stands in nobody's place.
                    rivals = [q + _APART for q in asked[want.facet][i].tolist() if q > p]
                    instead = self._instead(want, parts[want.facet][i], max([p, *rivals]))
                    findings[i].append(_complaint(want, p, instead))
                    if instead:
                        seen[i][want.text] = instead
        verdicts = []
        for row, found, other in zip(rows, findings, seen, strict=True):
            score = harmonic_mean(row.values()) if row else 0.0
            if not row:
                found.append("Nothing in the request can be judged.")
            verdicts.append(Verdict(score=min(1.0, score), facets=row, findings=tuple(found), seen=other, by=self.by))
        return verdicts

    @torch.inference_mode()
    def sees(self, image: Image.Image, facet: str, k: int = 3) -> list[tuple[str, float]]:
        """The ``k`` likeliest known names of ``facet`` in ``image`` with their probabilities, best first."""
        if facet not in self.facets:
            raise UserError(f"The critic judges {', '.join(self.facets)}, not {facet!r}.")
        return self._nearest(facet, self._images([image])[facet][0], k)

    def _images(self, images: Sequence[Image.Image]) -> dict[str, Tensor]:
        return self.net.images(to_pixels(images, self.net.config.size).to(self.device))

    def _probability(self, facet: str, image: Tensor, text: Tensor) -> Tensor:
        slope, shift = self.calibration[facet]
        return torch.sigmoid(self.net.logits(facet, image, text) * slope + shift)

    def _text(self, want: Wanted) -> tuple[Tensor | None, bool]:
        bank = self.banks[want.facet]
        text = normal(want.text, want.facet)
        if text in bank.index:
            return bank.vectors[bank.index[text]], True
        if self.embed_text is None:
            return None, False
        features = torch.from_numpy(np.asarray(self.embed_text([text]), dtype=np.float32)).to(self.device)
        return self.net.texts[want.facet](features)[0], False

    def _nearest(self, facet: str, image: Tensor, k: int) -> list[tuple[str, float]]:
        bank = self.banks[facet]
        chance = self._probability(facet, image[None], bank.vectors)[0]
        best: dict[str, float] = {}
        for i in chance.argsort(descending=True).tolist():
            best.setdefault(bank.names[i], float(chance[i]))
            if len(best) == k:
                break
        return list(best.items())

    def _asked(
        self, images: Mapping[str, Tensor], texts: Mapping[Wanted, tuple[Tensor | None, bool]]
    ) -> dict[str, Tensor]:
        """Facet -> probabilities (n, k) of the k things of it that are wanted and known."""
        vectors: dict[str, list[Tensor]] = {}
        for want, (vector, _) in texts.items():
            if vector is not None:
                vectors.setdefault(want.facet, []).append(vector)
        return {f: self._probability(f, images[f], torch.stack(v)) for f, v in vectors.items()}

    def _instead(self, want: Wanted, image: Tensor, p: float) -> str:
        """What the image looks like with more than ``p``, instead of what is wanted; "" if nothing stands out."""
        seen = [(n, q) for n, q in self._nearest(want.facet, image, 2) if n != normal(want.text, want.facet)]
        if not seen or seen[0][1] <= max(p, 0.3):
            return ""
        return self.called.get((want.facet, seen[0][0]), seen[0][0])


def _complaint(want: Wanted, p: float, instead: str) -> str:
    other = f"; it looks like {instead!r} instead" if instead else ""
    return f"The {want.facet} {want.text!r} is hardly there ({p:.2f}){other}."


@critic("dual_encoder")
def in_folder(setup: CriticSetup) -> Critic:
    """The critic whose files lie in the folder that the setting names: ``DIFFGRAPH_CRITIC=dual_encoder:FOLDER``."""
    if not setup.argument:
        raise UserError("Say where the critic's files are: DIFFGRAPH_CRITIC=dual_encoder:FOLDER.")
    return Critic.load(user_path(setup.argument), embed_text=setup.embed_text, device=setup.device)
