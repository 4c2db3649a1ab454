"""Train the world's vision-language model.

``python -m diffgraph.world.recipe.vlm_net --cache DIR --made DIR --work DIR --out DIR``

Three lessons: its eye learns from the critic's tower (`vlm_eye`); its words learn on that tower's own numbers, side by
side; then both together learn on, on true renders and on images made by the product. Resumable, seeded.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ...graph.embedding import MiniLM
from ...scoring.critics.dual_encoder import Critic as DualEncoder
from ...scoring.critics.vlm import calibration
from ...scoring.critics.vlm.local_model import LocalModel
from ...scoring.critics.vlm.naming import NamingCritic
from ...scoring.request import Wanted
from .. import world_dir
from ..critic import CALIBRATION, FACETS, Names
from . import rehearsal, vlm_eye, vlm_parts
from . import scorer_pool as sp
from .art import Art
from .critic_net import SALT, Texts, damage, known_names, negatives
from .made_images import SHOWN
from .made_images import UNSAID as NOT_SAID
from .made_lessons import NOBODY, UNSAID, MadeLessons
from .train import Loop, learning_rate, precision
from .vlm_lessons import Packed, Teacher, corpus
from .vlm_words import Words

BATCH = 32
Asked = list[tuple[str, str, str]]
_NOTHING = ("", "", "")


@dataclass
class Lessons:
    """Where training images come from: true renders and made ones, with their labels."""

    pool: sp.Pool
    made: MadeLessons | None
    teach: Teacher

    def batch(self, done: float, made: int) -> tuple[Tensor, Packed]:
        """``BATCH`` images in [-1, 1] with their questions; ``made`` of them were made by the product."""
        real = BATCH - made
        x, labels = self.pool.batch(torch.randint(len(self.pool.images), (real,)))
        bad_from, hurt = int(real * 0.86), int(real * 0.86 * (0.3 + 0.4 * done))
        bad, bad_labels, judged = negatives(x[bad_from:], labels[bad_from:])
        damaged, soft = damage(x[:hurt])
        rows = labels.numpy().copy()
        rows[:hurt, 1] = np.where(soft.numpy(), UNSAID, rows[:hurt, 1])
        rows[bad_from:] = np.where(judged.numpy(), bad_labels.numpy(), UNSAID)
        # What a spoiled image was of is the hardest thing to say no to.
        asked: Asked = [_NOTHING] * bad_from + [self._was(row) for row in labels[bad_from:].tolist()]
        images = [damaged, sp.nudge(x[hurt:bad_from], 3), bad]
        if made and self.made is not None:
            drawn, drawn_labels, drawn_for = self.made.draw(made)
            images.append(sp.nudge(drawn, 2))
            rows = np.concatenate([rows, drawn_labels])
            asked += drawn_for
        return torch.cat(images), self.teach.packed(rows, [no_asked(r, a) for r, a in zip(rows, asked, strict=True)])

    def _was(self, row: list[int]) -> tuple[str, str, str]:
        bank = self.teach.banks["subject"]
        return bank.texts[int(bank.own[row[0]])], "", ""


def no_asked(row: np.ndarray[Any, Any], asked: tuple[str, str, str]) -> tuple[str, str, str]:
    """What was asked for, where it is known not to be shown."""
    subject, style, background = (text if int(mine) == NOBODY else "" for text, mine in zip(asked, row, strict=True))
    return subject, style, background


def loss_of(model: Any, seen: Tensor, packed: Packed) -> tuple[Tensor, Tensor]:
    """Cross-entropy of answers given visual tokens (n, 16, hidden); and the share of yes/no that is right."""
    text = model.model.text_model
    embeds = text.get_input_embeddings()(packed.ids)
    start = int((packed.ids[0] == model.config.image_token_id).nonzero()[0])
    embeds = torch.cat([embeds[:, :start], seen.to(embeds.dtype), embeds[:, start + seen.shape[1] :]], dim=1)
    mask = torch.where(packed.mask, 0.0, torch.finfo(torch.float32).min)
    with precision():
        hidden = text(
            inputs_embeds=embeds,
            attention_mask=mask.to(torch.bfloat16).expand(len(embeds), -1, -1, -1),
            position_ids=packed.positions,
            use_cache=False,
        ).last_hidden_state
        judged, told = packed.yes >= 0, packed.goals >= 0
        answers, names = model.lm_head(hidden[judged]).float(), model.lm_head(hidden[told]).float()
    ids = model.answer_ids
    right = packed.yes[judged]
    loss = F.cross_entropy(answers, ids[1 - right])
    if told.any():
        loss = loss + F.cross_entropy(names, packed.goals[told])
    margin = answers[:, ids[0]] - answers[:, ids[1]]
    return loss, ((margin > 0).long() == right).float().mean()


def run(
    loop: Loop, parts: nn.Module, optimiser: Any, rate: float, work: Callable[[float], tuple[Tensor, Tensor]]
) -> None:
    """Train over a loop; prints the share of right yes/no answers beside the loss."""
    right: list[float] = []
    for step in loop:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(rate, step, loop.steps)
        loss, share = work(step / loop.steps)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parts.parameters(), 1.0)
        optimiser.step()
        loop.loss = loss.detach()
        right.append(float(share))
        if (step + 1) % 50 == 0:
            print(f"{loop.name}: yes/no right {np.mean(right[-50:]):.3f}", flush=True)


def adam(parts: nn.Module, rate: float) -> Any:
    return torch.optim.AdamW(parts.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.02)


class School:
    """Everything that the lessons share: images, texts, tokenizer, tower and the model itself."""

    def __init__(self, cache: Path, work: Path, made: Path | None, *, pool_size: int = 24000, seed: int = 61) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self.work, self.seed = work, seed
        art = Art.load(cache)
        self.classes = classes = sp.Classes.of(art)
        embed = MiniLM()
        aliases = known_names(art)
        self.banks = {f: Texts(getattr(classes, f), aliases, f, embed) for f in FACETS}
        self.pool = self._pool(art, pool_size)
        alike = torch.stack([classes.alike[s] for s in classes.style])
        self.words = self._words()
        teach = Teacher(self.words, self.banks, alike, rehearsal.SUBJECTS, seed)
        self.lessons = Lessons(self.pool, MadeLessons.load(made, classes) if made is not None else None, teach)
        torch.manual_seed(seed)
        self.model = vlm_parts.model(self.words)
        self.model.set_attn_implementation("eager")  # half the time of the fused kernel under a mask, on a CPU
        self.model.answer_ids = torch.tensor([teach.yes, teach.no])
        self.tower = vlm_eye.Tower(world_dir() / "scorers" / "critic")
        self.eye, self.text = vlm_eye.Eye(self.model, self.tower.width), Words(self.model, self.tower.width)
        self.text.start(self.words, self.banks, self.tower.net)

    def _pool(self, art: Art, size: int) -> sp.Pool:
        kept = self.work / "pool.safetensors"
        if not kept.exists():
            pool = sp.Pool.draw(art, self.classes, size, seed=self.seed, salt=SALT, held_out=False)
            sp.through_autoencoder(pool, world_dir() / "hub/emoji-base/vae", share=0.4, noise=0.35, seed=self.seed)
            save_file({"images": pool.images, "labels": pool.labels}, kept)
        data = load_file(kept)
        return sp.Pool(data["images"], data["labels"])

    def _words(self) -> Any:
        return vlm_parts.tokenizer(corpus(self.banks, rehearsal.SUBJECTS))

    def see(self, steps: int) -> None:
        """Lesson 1: the eye."""

        def batch(done: float) -> Tensor:
            x, labels = self.pool.batch(torch.randint(len(self.pool.images), (64,)))
            bad, _, _ = negatives(x[56:], labels[56:])
            return torch.cat([damage(x[:28])[0], sp.nudge(x[28:56], 3), bad])

        vlm_eye.teach(self.eye, self.tower, batch, steps, self.work, seed=self.seed)

    def speak(self, steps: int, rate: float = 1.5e-3) -> None:
        """Lesson 2: the words, on what the tower sees."""
        optimiser = adam(self.text, rate)
        loop = Loop("words", self.work, steps, {"text": self.text, "optimiser": optimiser}, self.seed, every=100)

        def work(done: float) -> tuple[Tensor, Tensor]:
            x, packed = self.lessons.batch(done, 10 if self.lessons.made is not None else 0)
            with precision():
                seen = self.text.join(self.tower(x))
            return loss_of(self.model, seen.float(), packed)

        run(loop, self.text, optimiser, rate, work)

    def join(self) -> None:
        """Make one layer of two: the eye's, that names the tower's spaces, and the words' that reads them."""
        both = self.text.join.weight @ self.eye.head.weight
        self.model.model.connector.modality_projection.proj.weight.data.copy_(both.data)

    def both(self, steps: int, rate: float = 6e-4, made: int = 14) -> None:
        """Lesson 3: eye and words together. Call `join` before."""
        optimiser = adam(self.model, rate)
        loop = Loop("both", self.work, steps, {"model": self.model, "optimiser": optimiser}, self.seed, every=100)
        connector = self.model.model.connector.modality_projection.proj

        def work(done: float) -> tuple[Tensor, Tensor]:
            x, packed = self.lessons.batch(done, made)
            with precision():
                seen = connector(self.eye.patches(x))
            return loss_of(self.model, seen.float(), packed)

        run(loop, self.model, optimiser, rate, work)

    def save(self, out: Path) -> None:
        """The folder that `from_pretrained` and a vLLM server read, with how far its answers can be believed."""
        self.model.set_attn_implementation("sdpa")
        vlm_parts.save(out, self.model, vlm_parts.processor(self.words))
        if self.lessons.made is not None:
            calibrate(out, self.lessons.made)


def calibrate(folder: Path, made: MadeLessons) -> dict[str, dict[str, float]]:
    """Fit a curve a facet on the made images held back, and write ``calibration.json`` and ``report.json``.

    What was asked for is shown or absent, as the images were made. Returns AUROC and expected calibration error before
    and after, by facet.
    """
    eyes = DualEncoder.load(world_dir() / "scorers" / "critic")
    critic = NamingCritic(LocalModel(folder, pairs=False), Names(eyes))
    x, asked, shown = made.held_back()
    arrays = x.add(1).mul(127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    said: dict[str, tuple[list[float], list[bool]]] = {facet: ([], []) for facet in FACETS}
    for array, texts, there in zip(arrays, asked, shown.tolist(), strict=True):
        known = [at for at in range(len(FACETS)) if texts[at] and there[at] != NOT_SAID]
        wanted = [Wanted(facet=FACETS[at], text=texts[at]) for at in known]
        row = critic.raw([Image.fromarray(array)], wanted)[0] if wanted else []
        for at, p in zip(known, row, strict=True):
            said[FACETS[at]][0].append(float(p))
            said[FACETS[at]][1].append(there[at] == SHOWN)
    curves = {facet: calibration.fit(p, true) for facet, (p, true) in said.items()}
    calibration.Calibration(facets=curves).write(folder / CALIBRATION)
    report = {}
    for facet, (p, true) in said.items():
        after = curves[facet](np.asarray(p)).tolist()
        report[facet] = {
            "auroc": round(calibration.auroc(p, true), 4),
            "ece": round(calibration.ece(p, true), 4),
            "ece calibrated": round(calibration.ece(after, true), 4),
            "images": len(p),
        }
    sp.write_json(folder / "report.json", report)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the vision-language model of the embedded world.")
    parser.add_argument("--cache", type=Path, required=True, help="folder with the artwork's renders")
    parser.add_argument("--made", type=Path, help="folder of `made_images`")
    parser.add_argument("--work", type=Path, required=True, help="checkpoints; keep it to resume")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--lesson", choices=["eye", "words", "both", "all"], default="all")
    parser.add_argument("--steps", type=int, nargs=3, default=[2200, 2600, 1600], metavar=("EYE", "WORDS", "BOTH"))
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves torch's default")
    a = parser.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    school = School(a.cache, a.work, a.made)
    if a.lesson in ("eye", "both", "all"):
        school.see(a.steps[0])
    if a.lesson in ("words", "both", "all"):
        school.speak(a.steps[1])
    if a.lesson in ("both", "all"):
        school.join()
        school.both(a.steps[2])
        school.save(a.out)


if __name__ == "__main__":
    main()
