"""Train the judge: ``python -m diffgraph.world.recipe.judge_net --cache DIR --out DIR [--minutes 20]``.

Apart from the true renders nothing is shared with the critic: other network, loss, split, damage and seed.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..judge import HEADS, JudgeNet, WorldJudge
from . import scorer_pool as sp
from .art import Art
from .train import Loop, learning_rate, precision

BATCH, RATE, SALT, FOLDS = 64, 1.6e-3, "judge", 8
_SMOOTHING = 0.05


def damage(x: Tensor) -> tuple[Tensor, Tensor]:
    """Gamma, grain in blocks, soft focus, posterised levels, a dropped-out quarter: unlike the critic's set.

    Returns the images and bool (n,): whether their fine texture is gone, so that the style cannot be told for sure.
    """
    n = len(x)
    soft = torch.rand(n) < 0.25
    x = sp.nudge(x, 4)
    x[soft] = sp.affine(x[soft], scale=1.1, shift=0.06, turn=0.08)
    gamma = torch.exp(0.22 * torch.randn(n, 1, 1, 1).clamp(-2, 2))
    x = ((x + 1) / 2).clamp(0, 1).pow(gamma) * 2 - 1
    for kernel in (3, 5):
        some = torch.rand(n) < 0.12
        soft |= some
        if some.any():
            x[some] = F.avg_pool2d(F.pad(x[some], (kernel // 2,) * 4, mode="replicate"), kernel, 1)
    for cells in (16, 32, 64):
        strength = 0.22 * torch.rand(n, 1, 1, 1) * (torch.rand(n, 1, 1, 1) < 0.25)
        x = x + strength * F.interpolate(torch.randn(n, 3, cells, cells), size=64, mode="nearest")
    some = torch.rand(n) < 0.12
    x[some] = torch.round(x[some] * 4) / 4
    some = torch.rand(n) < 0.15
    soft |= some
    if some.any():
        x[some] = sp.melt(x[some], 0.03, cells=7)
    some = torch.rand(n) < 0.15
    if some.any():
        part = x[some]
        washed = F.avg_pool2d(part, 16).repeat_interleave(16, 2).repeat_interleave(16, 3)
        corner = torch.zeros(len(part), 1, 64, 64)
        for row in corner:
            top, left = (int(v) for v in torch.randint(0, 36, (2,)))
            row[:, top : top + 26, left : left + 26] = 1
        x[some] = part * (1 - corner) + washed * corner
    return x.clamp(-1, 1), soft


def nothing(x: Tensor) -> tuple[Tensor, Tensor]:
    """Images without any known subject, and bool (n,): whether style and background are gone as well."""
    n = len(x)
    kind = torch.arange(n) % 5
    other = torch.roll(torch.arange(n), 2)
    cut = x.clone()
    cut[:, :, 32:] = x[other][:, :, 32:]
    mean = 0.5 * (x + x[other])
    dust = torch.randn(n, 3, 1, 1) * 0.5 + sp.smooth_noise(n, 6) * 0.6
    grain = torch.randn(n, 3, 64, 64) * (0.2 + 0.8 * torch.rand(n, 1, 1, 1))
    out = torch.stack([cut, mean, sp.melt(x, 0.2, cells=6), dust, grain])[kind, torch.arange(n)]
    return out.clamp(-1, 1), kind >= 3


def cross_entropy(logits: Tensor, allowed: Tensor) -> Tensor:
    """Minus log of the summed probability of the allowed classes, label-smoothed; (n, c), bool (n, c) -> (n,)."""
    logs = logits.log_softmax(1)
    right = -logs.masked_fill(~allowed, -1e4).logsumexp(1)
    return (1 - _SMOOTHING) * right - _SMOOTHING * logs.mean(1)


def loss_of(net: JudgeNet, x: Tensor, labels: Tensor, styles: Tensor, alike: Tensor, views: Tensor) -> Tensor:
    """Softmax losses of the three heads plus InfoNCE (arXiv 1807.03748) between two views of the same scene.

    ``labels`` (n, 3): class, -1 for "none of them", -2 for "not judged"; ``styles`` (n,): true style even
    where it is not judged, since it says which colours look alike; ``views`` (m, 2): pairs of rows.
    """
    with precision():
        logits, embedding = net(x)
    total = torch.zeros(())
    for at, head in enumerate(HEADS):
        label, count = labels[:, at], logits[head].shape[1]
        allowed = F.one_hot(torch.where(label >= 0, label, count - 1), count).bool()
        if head == "background":
            allowed[:, :-1] |= alike[styles.clamp(min=0), label.clamp(min=0)] & (label >= 0)[:, None]
        judged = label > -2
        total = total + cross_entropy(logits[head][judged], allowed[judged]).mean()
    a, b = embedding[views[:, 0]], embedding[views[:, 1]]
    near = a @ b.T / 0.1
    target = torch.arange(len(views))
    return total + 0.2 * (F.cross_entropy(near, target) + F.cross_entropy(near.T, target))


@torch.no_grad()
def measure(net: JudgeNet, x: Tensor, labels: Tensor, alike: Tensor, bad: Tensor) -> dict[str, float]:
    """Top-1 accuracy per head and of all three, false subjects on ``bad``, retrieval of a scene's other view."""
    logits: dict[str, Tensor] = {h: torch.cat([net(p)[0][h] for p in x.split(256)]) for h in HEADS}
    every = torch.arange(len(x))
    joint = torch.ones(len(x), dtype=torch.bool)
    report: dict[str, float] = {}
    for at, head in enumerate(HEADS):
        best = logits[head].argmax(1)
        hit = best == labels[:, at]
        if head == "background":
            known = best < alike.shape[2]
            hit = known & alike[labels[:, 1], labels[:, 2]][every, best.clamp(max=alike.shape[2] - 1)]
        joint &= hit
        report[head] = float(hit.float().mean())
    none = logits["subject"].shape[1] - 1
    report["joint"] = float(joint.float().mean())
    report["subject seen in none"] = float((net(bad)[0]["subject"].argmax(1) != none).float().mean())
    return {k: round(v, 4) for k, v in report.items()}


def train(
    cache: Path,
    out: Path,
    *,
    minutes: float = 20.0,
    steps: int | None = None,
    seed: int = 77,
    pool_size: int = 32000,
    vae: Path | None = None,
    start: Path | None = None,
) -> dict[str, float]:
    """Train, measure and write ``config.json``, ``model.safetensors`` (fp16) and ``report.json`` to ``out``.

    ``start``, a folder of a published judge, is taught on at a quarter of the rate; None: a net that knows nothing.
    """
    began, rate = time.time(), RATE if start is None else RATE / 4
    art = Art.load(cache)
    classes = sp.Classes.of(art)
    alike = torch.stack([classes.alike[s] for s in classes.style])
    pool = sp.Pool.draw(art, classes, pool_size, seed=seed, salt=SALT, held_out=False, folds=FOLDS)
    if vae is not None:
        sp.through_autoencoder(pool, vae, share=0.5, noise=0.3, seed=seed)
    torch.manual_seed(seed)
    net = JudgeNet({h: len(getattr(classes, h)) for h in HEADS}).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    origin = None if start is None else sp.teach_on(net, start)
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.05)
    good, twice = int(BATCH * 0.7), int(BATCH * 0.2)
    views = torch.stack([torch.arange(twice), good + torch.arange(twice)], dim=1)

    def work(done: float = 0.0) -> Tensor:
        x, labels = pool.batch(torch.randint(len(pool.images), (BATCH - twice,)))
        bad, gone = nothing(x[good:])
        bad_labels = torch.full((len(bad), 3), -2)
        bad_labels[:, 0] = -1
        bad_labels[gone] = -1
        calm = int(good * (0.6 - 0.4 * done))
        hurt, soft = damage(torch.cat([x[calm:good], x[:twice]]))
        seen = torch.cat([labels[:good], labels[:twice]])
        styles = seen[:, 1].clone()
        seen[calm:, 1] = torch.where(soft, -2, styles[calm:])
        x = torch.cat([sp.nudge(x[:calm], 4), hurt, bad]).contiguous(memory_format=torch.channels_last)
        loss = loss_of(net, x, torch.cat([seen, bad_labels]), torch.cat([styles, bad_labels[:, 1]]), alike, views)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
        return loss.detach()

    fresh = copy.deepcopy((net.state_dict(), optimiser.state_dict()))
    steps = sp.pace(work, minutes, steps, out)
    net.load_state_dict(fresh[0])
    optimiser.load_state_dict(fresh[1])
    loop = Loop("judge", out / "checkpoints", steps, {"net": net, "optimiser": optimiser}, seed)
    for step in loop:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(rate, step, steps)
        loop.loss = work(step / steps if start is None else 1.0)
    net.eval()
    test = sp.Pool.draw(art, classes, 2400, seed=seed + 1, salt=SALT, held_out=True, folds=FOLDS)
    torch.manual_seed(seed + 1)
    x, labels = test.batch(torch.arange(len(test.images)))
    bad, _ = nothing(x[:500])
    clean = measure(net, x, labels, alike, bad)
    damaged = measure(net, damage(x.clone())[0], labels, alike, bad)
    WorldJudge(net, {h: getattr(classes, h) for h in HEADS}).save(out)
    report = {"clean": clean, "damaged": damaged, "steps": steps, "seconds": round(time.time() - began, 1)}
    origins = {"seed": seed, "pool": pool_size, "vae": vae is not None, "start": origin}
    sp.write_json(out / "report.json", {**report, **origins})
    print(report)
    return clean


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the judge of the embedded world (evaluations only).")
    parser.add_argument("--cache", type=Path, required=True, help="folder with the artwork's renders")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=20.0, help="training time, turned into steps at the start")
    parser.add_argument("--steps", type=int, help="exact number of steps; overrides --minutes")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves torch's default")
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--pool", type=int, default=32000, help="renders drawn before training")
    parser.add_argument("--vae", type=Path, help="autoencoder folder; half of the pool passes through it")
    parser.add_argument("--start", type=Path, help="folder of a published judge to teach on from")
    a = parser.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    train(a.cache, a.out, minutes=a.minutes, steps=a.steps, seed=a.seed, pool_size=a.pool, vae=a.vae, start=a.start)


if __name__ == "__main__":
    main()
