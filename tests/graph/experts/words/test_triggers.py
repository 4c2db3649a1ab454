"""Words that call an expert, as people write them down."""

from __future__ import annotations

import pytest

from diffgraph.graph.experts.words.triggers import calls, group, groups, in_text
from diffgraph.graph.experts.words.unusual import in_prompts, is_unusual


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ohwx man, sks style, in a forest", ("ohwx man", "sks style", "in a forest")),
        ("(blue hair:1.2), <lora:fox:0.8> [red eyes]", ("blue hair", "red eyes")),
        ("`pixfox`， 水墨、画", ("pixfox", "水墨", "画")),
        (r"smart falcon \(umamusume\), tail", ("smart falcon (umamusume)", "tail")),
        ("null", ()),
        ("None", ()),
        ("  n/a ", ()),
        ("", ()),
        ("<lora:only:1>", ()),
        ("a\x1b[31mb, c\u202ed", ("a [31mb", "c d")),
    ],
)
def test_one_list_is_a_group(text: str, words: tuple[str, ...]) -> None:
    assert group(text) == words


def test_groups_are_kept_apart_and_bounded() -> None:
    assert groups(["red dress, ohwx", "null", None, "blue dress, ohwx", "red dress, ohwx"]) == (
        ("red dress", "ohwx"),
        ("blue dress", "ohwx"),
    )
    assert len(groups([f"w{n}" for n in range(500)])) == 32
    assert all(len(word) <= 80 for one in groups(["x" * 20_000, "a, " * 9_000]) for word in one)


def test_scenes_and_common_tags_call_nothing() -> None:
    assert calls(("1girl", "ohwx", "in a forest", "masterpiece")) == ("ohwx",)
    assert calls(("1girl",)) == ("1girl",)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Trigger words: `pixfox`, red hat", (("pixfox", "red hat"),)),
        ("## Trigger words\n\nuse `pixfox`", (("pixfox",),)),
        ("## Trigger words\n- ohwx man\n- ohwx woman\n\nMore text.", (("ohwx man",), ("ohwx woman",))),
        ("You should use `a photo of TOK` to trigger the image generation.", (("a photo of TOK",),)),
        ("You should use TOK to trigger the image generation.", (("TOK",),)),
        ("The trigger Word is 'mix4' . Have fun", (("mix4",),)),
        ("**Trigger:** TOK", (("TOK",),)),
        ("触发词：moxin, 水墨", (("moxin", "水墨"),)),
        ("Use the token `sks dog` in prompts", (("sks dog",),)),
        ("Activation text: neon glow, city", (("neon glow", "city"),)),
        (r"the trigger word is smart falcon \(umamusume\)", (("smart falcon (umamusume)",),)),
        ("A trigger word isn't necessary", ()),
        ("No trigger words needed.", ()),
        ("Trigger words: there are none, just write what you want and it works", ()),
        ("Nothing is said here. Use it as you like.", ()),
    ],
)
def test_triggers_in_running_text(text: str, found: tuple[tuple[str, ...], ...]) -> None:
    assert in_text(text) == found


def test_made_up_words_are_told_from_common_ones() -> None:
    assert [is_unusual(word) for word in ("ohwx man", "smart_falcon", "mix4", "red fox", "1girl", "dogs")] == [
        *(True, True, True),
        *(False, False, False),
    ]


def test_what_sample_prompts_have_in_common() -> None:
    assert in_prompts(["pixfox, a house", "a boat in pixfox style"]) == (("pixfox",),)
    assert in_prompts(["a pixfox in the snow"]) == (("pixfox",),)
    assert in_prompts(["a cat in the snow"]) == ()
    assert in_prompts([]) == ()
