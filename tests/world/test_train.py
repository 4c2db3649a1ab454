from pathlib import Path

import pytest
import torch

from diffgraph.world.recipe import train
from diffgraph.world.recipe.train import Ema, Loop, learning_rate


def _run(folder: Path, steps: int, stop: int | None = None) -> tuple[torch.Tensor, int]:
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 1)
    optimiser = torch.optim.AdamW(net.parameters(), lr=0.1)
    loop = Loop("tiny", folder, steps, {"net": net, "optimiser": optimiser}, seed=4, every=5, log_every=5)
    done = 0
    for step in loop:
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        loss = (net(x) - x.sum(1, keepdim=True)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loop.loss = loss.detach()
        done += 1
        if stop is not None and step + 1 == stop:
            break
    return net.weight.detach().clone(), done


def test_an_interrupted_loop_goes_on_from_its_checkpoint_to_the_same_weights(tmp_path: Path) -> None:
    whole, _ = _run(tmp_path / "a", 20)
    _run(tmp_path / "b", 20, stop=13)
    resumed, done = _run(tmp_path / "b", 20)
    assert done == 10  # the last checkpoint was written after step 10
    assert torch.equal(whole, resumed)


def test_the_learning_rate_warms_up_and_decays() -> None:
    rates = [learning_rate(1.0, s, 100, warmup=10) for s in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert max(rates) == 1.0
    assert rates[-1] < 0.05


def test_the_average_follows_the_module() -> None:
    net = torch.nn.Linear(2, 2)
    ema = Ema(net, decay=0.5)
    with torch.no_grad():
        net.weight.add_(1.0)
    for step in range(40):
        ema.update(step)
    twin = torch.nn.Linear(2, 2)
    ema.copy_to(twin)
    assert torch.allclose(twin.weight, net.weight, atol=1e-4)


def test_half_precision_is_used_only_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for has in (False, True):
        monkeypatch.setattr(train, "_computes_in_bf16", lambda has=has: has)
        with train.precision():
            out = torch.nn.functional.linear(torch.ones(2, 2), torch.ones(2, 2))
        assert out.dtype == (torch.bfloat16 if has else torch.float32)
