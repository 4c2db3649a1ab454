import gc

import pytest

from diffgraph.merging.engine.free_memory import uncollected


def _fail_meanwhile(seen: list[bool]) -> None:
    with uncollected():
        seen.append(gc.isenabled())
        raise KeyError


def test_the_collector_rests_meanwhile_and_is_left_as_it_was() -> None:
    assert gc.isenabled()
    seen: list[bool] = []
    with pytest.raises(KeyError):
        _fail_meanwhile(seen)
    assert seen == [False]
    assert gc.isenabled()
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
