"""Damage for the scorers' training images."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from diffgraph.files.hashing import file_sha256
from diffgraph.world.recipe import scorer_pool as sp


@pytest.mark.parametrize("count", [0, 1, 5])
def test_damage_keeps_the_shape_whatever_the_count(count: int) -> None:
    torch.manual_seed(0)
    x = torch.rand(count, 3, 64, 64) * 2 - 1
    for y in (sp.nudge(x, 3), sp.affine(x, scale=1.1, shift=0.05, turn=0.1), sp.blur(x, 16) if count else x):
        assert y.shape == x.shape
        assert bool(torch.isfinite(y).all())


def test_a_nudge_of_nothing_is_the_image_and_patches_keep_every_pixel() -> None:
    x = torch.rand(2, 3, 64, 64)
    assert torch.equal(sp.nudge(x, 0), x)
    assert torch.equal(sp.patches(x, 16).flatten().sort().values, x.flatten().sort().values)


def test_a_published_net_is_taught_on_from_its_weights_and_named_by_their_hash(tmp_path: Path) -> None:
    torch.manual_seed(0)
    published, net = (torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3)) for _ in range(2))
    state = {k: v.half() if v.is_floating_point() else v for k, v in published.state_dict().items()}
    save_file({**state, "bank.style": torch.zeros(2, 3)}, tmp_path / "model.safetensors")
    assert sp.teach_on(net, tmp_path) == file_sha256(tmp_path / "model.safetensors")
    assert all(torch.equal(net.state_dict()[k].float(), v.float()) for k, v in state.items())
    assert net[0].weight.dtype == torch.float32
