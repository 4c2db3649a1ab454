"""Metrics that people ask for by name and that no living package computes beside today's transformers."""

from __future__ import annotations

from ...errors import UserError
from . import Metric, metric


@metric("image_reward")
def image_reward(argument: str = "") -> Metric:
    """ImageReward (Xu et al. 2023). Raises UserError, which says what to use instead."""
    raise UserError(
        "image_reward is not here: its package has had no release since 2023 and does not work with the transformers "
        "that DiffGraph needs. Use pick_score:yuvalkirstain/PickScore_v1, taught on people's choices like it."
    )


@metric("hps")
def hps(argument: str = "") -> Metric:
    """HPS (Wu et al. 2023, Ma et al. 2025). Raises UserError, which says what to use instead."""
    raise UserError(
        "hps is not here: HPSv3's package pins an older transformers than DiffGraph needs, and HPSv2's weights are a "
        "pickle. Use pick_score:yuvalkirstain/PickScore_v1; HPSv2 as a CLIPModel folder of your own goes by "
        "pick_score:FOLDER, which ranks images as it does."
    )
