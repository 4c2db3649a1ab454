"""One weight for the denoiser and another for the text encoders, as other programs have them, in a plan's words."""

from __future__ import annotations

from ..bases.index import BaseIndex


def apart(base: BaseIndex, weight: float, text_weight: float | None) -> tuple[float, dict[str, float]] | None:
    """(weight, factors of components) of a plan's expert; None if the base has no text encoder to weigh apart."""
    if text_weight is None or text_weight == weight:
        return weight, {}
    if not any(component.startswith("text_encoder") for component in base.files):
        return None
    if weight != 0.0:
        return weight, {"text_encoder*": text_weight / weight}
    return text_weight, {base.denoiser: 0.0}
