"""What is no base is refused with a sentence: a VAE alone, a name that no file system has."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from diffgraph.bases.locations import location_of
from diffgraph.bases.single_file import contents
from diffgraph.errors import UserError


def test_a_vae_alone_is_no_base(tmp_path: Path) -> None:
    weights = {f"{part}.conv_in.weight": torch.zeros(4, 4, 3, 3) for part in ("encoder", "decoder")}
    save_file(weights, tmp_path / "vae.safetensors")
    with pytest.raises(UserError, match="VAE alone"):
        contents(tmp_path / "vae.safetensors")


def test_a_name_too_long_for_a_file_is_no_place() -> None:
    assert location_of("x" * 5000) is None
    assert location_of("/".join(["x" * 200] * 30)) is None
