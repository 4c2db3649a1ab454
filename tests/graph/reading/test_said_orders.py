"""Orders said one by one: every value that can be, and a sentence for every one that cannot."""

from __future__ import annotations

import pytest

from diffgraph.errors import UserError
from diffgraph.graph.reading.request import ExpertOrder, Orders
from diffgraph.graph.reading.said_orders import Said, expert_of, in_words, orders_of
from diffgraph.graph.reading.split import split


@pytest.mark.parametrize(
    ("said", "fields"),
    [
        ("832x1216", {"width": 832, "height": 1216}), ("832 X 1216", {"width": 832, "height": 1216}),
        ("832×1216px", {"width": 832, "height": 1216}), ((64, 128), {"width": 64, "height": 128}),
        ("16:9", {"aspect": (16, 9)}), ("2/3", {"aspect": (2, 3)}), ("Portrait", {"aspect": (3, 4)}),
        ("landscape", {"aspect": (4, 3)}), (" square ", {"aspect": (1, 1)}),
    ],
)  # fmt: skip
def test_sizes(said: str | tuple[int, int], fields: dict[str, object]) -> None:
    assert orders_of({"size": said}) == Orders.model_validate(fields)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("ink", ("ink", None, None)), ("ink:0.7", ("ink", 0.7, None)), ("ink:-1", ("ink", -1.0, None)),
        ("ink:0.5:0.7", ("ink", 0.7, 0.5)), ("ink:te=0.5:unet=1", ("ink", 1.0, 0.5)),
        ("world/ink:v2", ("world/ink:v2", None, None)), ("world/ink:v2:.7", ("world/ink:v2", 0.7, None)),
        ("hub/a b/c.safetensors:1", ("hub/a b/c.safetensors", 1.0, None)),
    ],
)  # fmt: skip
def test_experts(text: str, order: tuple[str, float | None, float | None]) -> None:
    found = expert_of(text)
    assert (found.name, found.weight, found.text_weight) == order
    assert (found.text, found.kind) == (text, "expert")


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"size": "huge"}, "832x1216"), ({"size": "1x1"}, "64 to 8192 pixels"), ({"size": "99:1"}, "up to 8:1"),
        ({"size": "0:0"}, "no size"), ({"steps": 0}, "from 1 to 1000"), ({"steps": "many"}, "whole number"),
        ({"steps": 2.5}, "whole number"), ({"steps": True}, "whole number"), ({"guidance": float("nan")}, "0 to 50"),
        ({"clip_skip": 0}, "from 1 to 12"), ({"experts": [":0.5"]}, "names no expert"),
        ({"experts": ["ink:11"]}, "beyond ±10"), ({"experts": {"ink": 1e9}}, "beyond ±10"),
        ({"experts": [3]}, "must be texts"), ({"without": [""]}, "must be texts"),
        ({"negative": "x" * 9000}, "at most"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_a_sentence(said: Said, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        orders_of(said)


def test_what_is_said_outside_wins_over_what_is_typed() -> None:
    typed = split("a fox, seed 1, 5 steps, 512x768 <lora:Ink:0.3> <lora:neon:1> --sampler heun").orders
    said = orders_of({"steps": 9, "size": "16:9", "experts": {"ink": 0.7}, "without": "neon", "negative": "a\nb\x1b"})
    whole = said.over(typed)
    assert (whole.seed, whole.steps, whole.width, whole.aspect, whole.sampler) == (1, 9, None, (16, 9), "heun")
    assert [(e.name, e.weight) for e in whole.experts] == [("neon", 1.0), ("ink", 0.7)]
    assert (whole.without, whole.negative) == (("neon",), "a b")
    assert Orders(seed=0).over(typed).seed == 0
    assert Orders().over(typed) == typed
    assert (typed.said, Orders().said) == (True, False)


def test_only_what_is_ordered_is_written_down() -> None:
    orders = orders_of({"steps": 9, "experts": ["ink:0.7"]})
    assert set(orders.model_dump(mode="json")) == {"steps", "experts"}
    assert Orders.model_validate_json(orders.model_dump_json()) == orders
    assert Orders().model_dump() == {}


def test_in_words() -> None:
    said: Said = {
        "negative": "text",
        "size": "portrait",
        "clip_skip": 2,
        "experts": ["ink:0.5:0.7"],
        "without": ["neon"],
    }
    rows = in_words(orders_of(said))
    assert rows == (("negative", "text"), ("size", "3:4"), ("clip skip", "2"), ("expert", "ink:0.5:0.7"), ("without",
                    "neon"))  # fmt: skip
    order = ExpertOrder(kind="lora", name="a", text="<lora:a>")
    assert in_words(Orders(width=64, experts=(order,))) == (("size", "64xany"), ("expert", "a"))
