"""The coarsest blocks of a UNet, by the names of its modules."""

import pytest
from diffusers import UNet2DConditionModel

from diffgraph.bases.layout_blocks import coarse_blocks


@pytest.mark.parametrize("levels", [2, 3, 4])
def test_the_last_down_block_the_middle_and_the_first_up_block(levels: int) -> None:
    unet = UNet2DConditionModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(4,) * levels,
        down_block_types=("DownBlock2D",) * levels,
        up_block_types=("UpBlock2D",) * levels,
        cross_attention_dim=4,
        attention_head_dim=2,
        norm_num_groups=2,
    )
    names = [f"unet.{name}" for name, _ in unet.named_modules()]
    assert coarse_blocks(names) == (f"unet.down_blocks.{levels - 1}.*", "unet.mid_block.*", "unet.up_blocks.0.*")


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["transformer.transformer_blocks.0.attn.to_q", "text_encoder.mid_block.x"],
        ["unet.down_blocks.0.resnets.0.conv1", "unet.up_blocks.0.resnets.0.conv1"],  # no middle
        ["unet.down_blocks_0.conv", "vae.mid_block.conv", "vae.up_blocks.0.conv", "vae.down_blocks.1.conv"],
    ],
)
def test_what_is_no_such_unet_has_none(names: list[str]) -> None:
    assert coarse_blocks(names) == ()
