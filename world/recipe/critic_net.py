"""Train the critic: ``python -m diffgraph.world.recipe.critic_net --cache DIR --out DIR [--minutes 20]``.

Positives are true renders under the damage a sampler's image can show; negatives (two subjects blended or cut together,
melted, shuffled, washed out, noise) must score low on the subject whatever the text. Resumable, seeded.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...graph.embedding import MiniLM
from ...scoring.critics.dual_encoder import write_critic
from ...scoring.critics.dual_encoder_net import DualEncoder
from ...scoring.request import normal
from ..critic import FACETS, config
from . import scorer_pool as sp
from .art import Art
from .looks import BACKGROUNDS, STYLES
from .made_images import SHOWN
from .made_lessons import MadeLessons
from .train import Loop, learning_rate, precision

BATCH, RATE, SALT = 64, 1.6e-3, "critic"
_EXTRA = {sp.HOUSE: ("emoji", "plain emoji")}
_ARROW = {f: i for i, f in enumerate(FACETS)}


class Texts:
    """The text bank of one facet: every name and alias, its sentence vector, and which classes it is true of."""

    def __init__(self, classes: list[str], aliases: dict[str, tuple[str, ...]], facet: str, embed: MiniLM) -> None:
        owners: dict[str, list[int]] = {}
        for i, name in enumerate(classes):
            for text in (name, *aliases.get(name, ())):
                mine = owners.setdefault(normal(text, facet), [])
                if i not in mine:
                    mine.append(i)
        names = {normal(n, facet): n for n in classes}
        # A class's own name belongs to it alone, even where it is another's alias ("fish", "fly").
        for i, name in enumerate(classes):
            owners[normal(name, facet)] = [i]
        self.texts = sorted(owners)
        self.names = [names.get(t, classes[owners[t][0]]) for t in self.texts]
        self.features = torch.from_numpy(embed.embed(self.texts)).float()
        self.truth = torch.zeros(len(self.texts), len(classes), dtype=torch.bool)
        for row, text in enumerate(self.texts):
            self.truth[row, owners[text]] = True
        self.own = torch.tensor([self.texts.index(normal(n, facet)) for n in classes])
        self.choices = [torch.nonzero(self.truth[:, i])[:, 0] for i in range(len(classes))]

    def pick(self) -> Tensor:
        """One text row a class, drawn from its name and aliases."""
        return torch.stack([c[torch.randint(len(c), ())] for c in self.choices])


def known_names(art: Art) -> dict[str, tuple[str, ...]]:
    """Other names of every class, of all facets."""
    aliases = {**art.aliases, **_EXTRA}
    aliases.update({s.name: s.aliases for s in STYLES.values()})
    aliases.update({b.name: b.aliases for b in BACKGROUNDS.values()})
    aliases.update({f"plain {c}": (c,) for c in art.colors})
    return aliases


def damage(x: Tensor) -> tuple[Tensor, Tensor]:
    """What a good sample may still show: shift, tint, blur, noise, washed patches.

    Returns the images and bool (n,): whether their fine texture is gone, so that the style cannot be told for sure.
    """
    n = len(x)
    soft = torch.rand(n) < 0.3
    x = sp.nudge(x, 3)
    x[soft] = sp.affine(x[soft], scale=1.15, shift=0.05, turn=0.12)
    x = x * (1 + 0.10 * torch.randn(n, 3, 1, 1).clamp(-2, 2)) + 0.05 * torch.randn(n, 3, 1, 1)
    for side in (14, 18, 24, 34, 46):
        some = torch.rand(n) < 0.07
        soft |= some
        if some.any():
            x[some] = sp.blur(x[some], side)
    rough = torch.rand(n, 1, 1, 1)
    x = x + torch.where(rough < 0.35, 0.16 * torch.rand(n, 1, 1, 1), 0.0) * torch.randn_like(x)
    x = x + torch.where(rough > 0.6, 0.25 * torch.rand(n, 1, 1, 1), 0.0) * sp.smooth_noise(n, 8)
    some = torch.rand(n) < 0.15
    soft |= some
    if some.any():
        x[some] = sp.melt(x[some], 0.02)
    some = torch.rand(n) < 0.2
    if some.any():
        part = x[some]
        for row in part:
            h, w = (int(v) for v in torch.randint(8, 22, (2,)))
            top, left = int(torch.randint(0, 64 - h, ())), int(torch.randint(0, 64 - w, ()))
            row[:, top : top + h, left : left + w] = torch.randn(3, 1, 1) * 0.6
        x[some] = part
    return x.clamp(-1, 1), soft


def negatives(x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Images without a subject. Returns images, labels (-1: no class is right) and bool (n, 3) "facet is judged"."""
    n = len(x)
    labels = labels.clone()
    counts = torch.zeros(n, 3, dtype=torch.bool)
    labels[:, 0], counts[:, 0] = -1, True
    kind = torch.arange(n) % 7
    other = torch.roll(torch.arange(n), 1)
    same_style = labels[:, 1] == labels[other, 1]
    mix = 0.4 + 0.2 * torch.rand(n, 1, 1, 1)
    halves = x.clone()
    halves[:, :, :, 32:] = x[other][:, :, :, 32:]
    variants = [
        mix * x + (1 - mix) * x[other],
        halves,
        sp.patches(x, 16),
        sp.patches(x, 8),
        sp.blur(x, 5),
        sp.melt(x, 0.16),
        0.5 * torch.randn(n, 3, 1, 1) + sp.smooth_noise(n, 8) * 0.5 + 0.15 * torch.randn_like(x),
    ]
    out = torch.stack(variants)[kind, torch.arange(n)]
    counts[:, 1] = ((kind < 2) & same_style) | (kind == 5)
    pure = kind == 6
    labels[pure] = -1
    counts[pure] = True
    return out.clamp(-1, 1), labels, counts


def loss_of(
    net: DualEncoder, features: Tensor, labels: Tensor, counts: Tensor, banks: dict[str, Texts], alike: Tensor
) -> Tensor:
    """SigLIP's pairwise sigmoid loss over the names of a facet and, lighter, over one random alias a class.

    Softmax over the names is added: it learns faster, and the sigmoid's scale and bias still make it absolute.
    """
    with precision():
        parts = net.project(features)
    total = torch.zeros(())
    for facet, at in _ARROW.items():
        bank, label, judged = banks[facet], labels[:, at], counts[:, at]
        for rows, share in ((bank.own, 1.0), (bank.pick(), 0.2)):
            logits = net.logits(facet, parts[facet], net.texts[facet](bank.features[rows]))
            truth = bank.truth[rows].T[label.clamp(min=0)] & (label >= 0)[:, None]
            weight = judged[:, None].expand_as(truth)
            if facet == "background":
                # Plain colours that the style makes alike are neither right nor wrong.
                unsure = alike[labels[:, 1].clamp(min=0), label.clamp(min=0)] & ~truth & (label >= 0)[:, None]
                weight = weight & ~unsure
                logits = logits.masked_fill(unsure, -30.0)
            each = F.binary_cross_entropy_with_logits(logits, truth.float(), reduction="none")
            total = total + share * (each * weight).sum() / judged.sum().clamp(min=1)
            if rows is bank.own:
                real = judged & (label >= 0)
                total = total + F.cross_entropy(logits[real], label[real])
    return total


@torch.no_grad()
def all_logits(net: DualEncoder, x: Tensor, banks: dict[str, Texts]) -> dict[str, Tensor]:
    """Logits of every class's own name: {facet: (n, classes)}."""
    out: dict[str, list[Tensor]] = {f: [] for f in FACETS}
    for part in x.split(256):
        images = net.images(part)
        for f in FACETS:
            out[f].append(net.logits(f, images[f], net.texts[f](banks[f].features[banks[f].own])))
    return {f: torch.cat(v) for f, v in out.items()}


def platt(right: Tensor, wrong: Tensor) -> tuple[float, float]:
    """Slope and shift of a logistic fit that gives both groups the same total weight (Platt 1999)."""
    scores = torch.cat([right, wrong]).double()
    truth = torch.cat([torch.ones_like(right), torch.zeros_like(wrong)]).double()
    weight = torch.where(truth > 0, 0.5 / len(right), 0.5 / len(wrong))
    at = torch.tensor([1.0, 0.0], dtype=torch.double, requires_grad=True)
    solver = torch.optim.LBFGS([at], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        each = F.binary_cross_entropy_with_logits(at[0] * scores + at[1], truth, reduction="none")
        value = (each * weight).sum() + 1e-4 * at.square().sum()
        value.backward()
        return value

    solver.step(closure)
    slope, shift = at.detach().tolist()
    return slope, shift


Scores = dict[str, tuple[Tensor, Tensor]]
"""Facet -> logits of texts that are right, and of texts that are wrong."""


def measure(
    net: DualEncoder, x: Tensor, labels: Tensor, bad: Tensor, bad_labels: Tensor, banks: dict[str, Texts], alike: Tensor
) -> tuple[dict[str, float], Scores]:
    """Accuracies on ``x``, and logits of the right texts and of the likeliest wrong ones."""
    logits, spoiled = all_logits(net, x, banks), all_logits(net, bad, banks)
    every = torch.arange(len(x))
    report: dict[str, float] = {}
    scores: Scores = {}
    joint = torch.ones(len(x), dtype=torch.bool)
    for facet, at in _ARROW.items():
        label = labels[:, at]
        allowed = F.one_hot(label, logits[facet].shape[1]).bool()
        if facet == "background":
            allowed = alike[labels[:, 1], label]
        hit = allowed[every, logits[facet].argmax(1)]
        joint &= hit
        report[facet] = float(hit.float().mean())
        right = logits[facet][every, label]
        wrong = logits[facet].masked_fill(allowed, -1e4).max(1).values
        if facet == "subject":
            half = spoiled[facet][torch.arange(len(bad)), bad_labels[:, 0]]
            wrong = torch.cat([wrong, half])
        scores[facet] = right, wrong
        slope, shift = platt(right, wrong)
        report[f"{facet} right accepted"] = float((right * slope + shift > 0).float().mean())
        report[f"{facet} wrong accepted"] = float((wrong * slope + shift > 0).float().mean())
        if facet == "subject":
            report["negatives accepted"] = float((half * slope + shift > 0).float().mean())
    report["joint"] = float(joint.float().mean())
    return {k: round(v, 4) for k, v in report.items()}, scores


@torch.no_grad()
def made_scores(made: MadeLessons, net: DualEncoder, banks: dict[str, Texts]) -> Scores:
    """Logits of what was asked for, shown and absent, on the made images held back."""
    x, asked, shown = made.held_back()
    found: Scores = {}
    parts = [net.images(part) for part in x.split(256)]
    for facet, at in _ARROW.items():
        images, bank = torch.cat([part[facet] for part in parts]), banks[facet]
        known = [i for i, texts in enumerate(asked) if texts[at] and shown[i, at] >= 0]
        rows = [bank.texts.index(normal(asked[i][at], facet)) for i in known]
        vectors = net.texts[facet](bank.features[rows])
        logits = (images[known] * vectors).sum(1) * net.scale[facet].exp() + net.bias[facet]
        there = shown[known, at] == SHOWN
        found[facet] = logits[there], logits[~there]
    return found


def calibrated(*measured: Scores) -> dict[str, tuple[float, float]]:
    """Slope and shift of each facet on all that was measured together."""
    together = {f: [torch.cat([scores[f][side] for scores in measured]) for side in (0, 1)] for f in FACETS}
    return {facet: platt(right, wrong) for facet, (right, wrong) in together.items()}


def train(
    cache: Path,
    out: Path,
    *,
    minutes: float = 20.0,
    steps: int | None = None,
    seed: int = 31,
    pool_size: int = 32000,
    vae: Path | None = None,
    start: Path | None = None,
    made: Path | None = None,
) -> dict[str, float]:
    """Train, calibrate, measure and write ``config.json``, ``model.safetensors`` and ``report.json`` to ``out``.

    ``start``, a folder of a published critic, is taught on at a quarter of the rate; None: a net that knows nothing.
    ``made``, a folder of `made_images`, gives a third of every batch, and the calibration.
    """
    began, rate = time.time(), RATE if start is None else RATE / 4
    art = Art.load(cache)
    classes = sp.Classes.of(art)
    aliases = known_names(art)
    embed = MiniLM()
    banks = {f: Texts(getattr(classes, f), aliases, f, embed) for f in FACETS}
    alike = torch.stack([classes.alike[s] for s in classes.style])
    pool = sp.Pool.draw(art, classes, pool_size, seed=seed, salt=SALT, held_out=False)
    if vae is not None:
        sp.through_autoencoder(pool, vae, share=0.5, noise=0.35, seed=seed)
    torch.manual_seed(seed)
    net = DualEncoder(config()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for f in FACETS:
        net.texts[f].fit(banks[f].features)
    origin = None if start is None else sp.teach_on(net, start)
    # A plain classifier over the same features, dropped after training: teaches the tower until the texts are sorted.
    helper = torch.nn.Linear(net.width - net.pooled, len(classes.subject))
    fast = [*net.scale.parameters(), *net.bias.parameters()]
    slow = [p for p in (*net.parameters(), *helper.parameters()) if not any(p is q for q in fast)]
    optimiser = torch.optim.AdamW(
        [{"params": slow, "pace": 1.0}, {"params": fast, "pace": 6.0, "weight_decay": 0.0}],
        lr=rate,
        betas=(0.9, 0.98),
        weight_decay=0.03,
    )

    mix = None if made is None else MadeLessons.load(made, classes)

    def work(done: float = 0.0) -> Tensor:
        few = BATCH if mix is None else BATCH - BATCH // 3
        x, labels = pool.batch(torch.randint(len(pool.images), (few,)))
        keep = int(few * 0.86)
        bad, bad_labels, counts = negatives(x[keep:], labels[keep:])
        hurt = int(keep * (0.3 + 0.5 * done))
        hurt_images, soft = damage(x[:hurt])
        images, known = [hurt_images, sp.nudge(x[hurt:keep], 3), bad], [labels[:keep], bad_labels]
        judged = torch.cat([torch.ones(keep, 3, dtype=torch.bool), counts])
        judged[:hurt, 1] = ~soft
        if mix is not None:
            made_x, made_labels, made_judged = mix.batch(BATCH - few)
            made_judged[:, _ARROW["background"]] = False  # true renders alone teach a scene better
            images.append(sp.nudge(made_x, 2))
            known.append(made_labels)
            judged = torch.cat([judged, made_judged])
        x = torch.cat(images).contiguous(memory_format=torch.channels_last)
        with precision():
            features = net.features(x)
            guess = helper(features[:keep, net.pooled :]).float()
        loss = loss_of(net, features, torch.cat(known), judged, banks, alike)
        loss = loss + F.cross_entropy(guess, labels[:keep, 0])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        return loss.detach()

    fresh = copy.deepcopy((net.state_dict(), helper.state_dict(), optimiser.state_dict()))
    steps = sp.pace(work, minutes, steps, out)
    for part, state in zip((net, helper, optimiser), fresh, strict=True):
        part.load_state_dict(state)
    loop = Loop("critic", out / "checkpoints", steps, {"net": net, "helper": helper, "optimiser": optimiser}, seed)
    for step in loop:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(rate, step, steps) * group["pace"]
        loop.loss = work(step / steps if start is None else 1.0)
    net.eval()
    test = sp.Pool.draw(art, classes, 2400, seed=seed + 1, salt=SALT, held_out=True)
    torch.manual_seed(seed + 1)
    x, labels = test.batch(torch.arange(len(test.images)))
    spoiled, _, _ = negatives(x[:1400], labels[:1400])
    clean, _ = measure(net, x, labels, spoiled, labels[:1400], banks, alike)
    damaged, scores = measure(net, damage(x.clone())[0], labels, spoiled, labels[:1400], banks, alike)
    calibration = calibrated(scores, *([] if mix is None else [made_scores(mix, net, banks)]))
    report = {"clean": clean, "damaged": damaged, "steps": steps, "seconds": round(time.time() - began, 1)}
    write_critic(out, net, {f: (b.texts, b.names, b.features) for f, b in banks.items()}, calibration)
    origins = {"seed": seed, "pool": pool_size, "vae": vae is not None, "start": origin, "made": made is not None}
    sp.write_json(out / "report.json", {**report, **origins})
    print(report)
    return clean


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the critic of the embedded world.")
    parser.add_argument("--cache", type=Path, required=True, help="folder with the artwork's renders")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=20.0, help="training time, turned into steps at the start")
    parser.add_argument("--steps", type=int, help="exact number of steps; overrides --minutes")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves torch's default")
    parser.add_argument("--seed", type=int, default=31)
    parser.add_argument("--pool", type=int, default=32000, help="renders drawn before training")
    parser.add_argument("--vae", type=Path, help="autoencoder folder; half of the pool passes through it")
    parser.add_argument("--start", type=Path, help="folder of a published critic to teach on from")
    parser.add_argument("--made", type=Path, help="folder of made_images: a third of every batch, and the calibration")
    a = parser.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    train(
        a.cache,
        a.out,
        minutes=a.minutes,
        steps=a.steps,
        seed=a.seed,
        pool_size=a.pool,
        vae=a.vae,
        start=a.start,
        made=a.made,
    )


if __name__ == "__main__":
    main()
