import pytest
from pydantic import ValidationError

from diffgraph.graph.calibration.record import Calibration, ReferenceScore


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_measurement_that_is_no_number_is_refused_before_it_is_stored(value: float) -> None:
    known = {"expert_id": "a/b", "expert_sha256": "0" * 64, "plan_context_hash": "c", "verdict": "works"}
    Calibration.model_validate(known)
    for broken in ({"gain": {"style": value}}, {"direction": (value,)}, {"consistency": value}, {"best_weight": value}):
        with pytest.raises(ValidationError):
            Calibration.model_validate({**known, **broken})
    with pytest.raises(ValidationError):
        ReferenceScore(prompt_id="p", strength=1, metric="critic", base=0.5, value=value)
