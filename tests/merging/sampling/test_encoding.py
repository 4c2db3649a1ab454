"""Every word reaches the text encoders, weights and all; plain short prompts go the pipeline's own way."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from diffgraph.errors import PlanError
from diffgraph.merging.plan.merge_plan import Sampler
from diffgraph.merging.sampling.encoding import is_encoded, text_arguments, weighs
from diffgraph.merging.sampling.pipeline import draw_all, render
from diffgraph.merging.sampling.png_record import pixels_sha256

WORDS = [f"word{i}" for i in range(200)]
LONG = ", ".join(f"(({word}:1.{i % 5}))" if i % 3 else word for i, word in enumerate(WORDS))


@contextmanager
def seen_by(encoder):
    """The ids that a text encoder is handed, call by call."""
    seen = []
    hook = encoder.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append((args[0] if args else kwargs["input_ids"]).flatten().tolist()),
        with_kwargs=True,
    )
    try:
        yield seen
    finally:
        hook.remove()


def pixels(reader, plan):
    return [pixels_sha256(image) for image in render(reader.engine, plan, reader.locate)]


def without_markers(pipe, calls):
    """The ids of all calls, one behind the other; markers and padding left out."""
    markers = {pipe.tokenizer.bos_token_id, pipe.tokenizer.eos_token_id, pipe.tokenizer.pad_token_id}
    return [token for call in calls for token in call if token not in markers]


def ids(pipe, text):
    return pipe.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids


@pytest.mark.parametrize("side", [0, 1])
def test_two_hundred_weighted_words_reach_every_encoder_whole(reader, side):
    pipe = reader.engine.pipe
    expected = ids(pipe, ", ".join(WORDS))
    pair = (LONG, "a fox") if side == 0 else ("a fox", LONG)
    for encoder in reader.encoders:
        with seen_by(encoder) as seen, torch.inference_mode():
            arguments = text_arguments(pipe, [pair])
        read = without_markers(pipe, seen)
        starts = [i for i, token in enumerate(read) if token == expected[0]]
        assert any(read[i : i + len(expected)] == expected for i in starts)
    assert arguments["prompt_embeds"].shape == arguments["negative_prompt_embeds"].shape
    assert arguments["prompt_embeds"].shape[1] > len(expected)
    image = render(reader.engine, reader.plan(pair[0], negative_prompt=pair[1]), reader.locate)[0]
    assert image.size == (8, 8)


def test_plain_short_prompts_are_handed_over_as_they_are(reader):
    pipe = reader.engine.pipe
    assert text_arguments(pipe, [("a red fox", ""), ("owl", "dog")]) == {
        "prompt": ["a red fox", "owl"],
        "negative_prompt": ["", "dog"],
    }
    assert text_arguments(pipe, [(r"miku \(v\)", "")])["prompt"] == ["miku (v)"]
    assert text_arguments(pipe, [("a :( fox", "")])["prompt"] == ["a :( fox"]


def test_weights_of_one_change_nothing_and_others_do(reader):
    plain, same = (pixels(reader, reader.plan(text)) for text in ("a red fox", "a (red:1.0) fox"))
    assert plain == same
    seen = {tuple(pixels(reader, reader.plan(text))) for text in ("(red:1.5) fox", "[red] fox", "(red) fox", "red fox")}
    assert len(seen) == 4
    assert pixels(reader, reader.plan("((red)) fox")) == pixels(reader, reader.plan("(red:1.2100000000000002) fox"))


def test_what_is_encoded_here_is_what_the_pipeline_encodes(reader):
    """Short words by compel's way and by the pipeline's own: the same numbers."""
    pipe = reader.engine.pipe
    with torch.inference_mode():
        ours = text_arguments(pipe, [("a red fox BREAK owl", "dog")])
        xl = "pooled_prompt_embeds" in ours
        theirs = pipe.encode_prompt(
            prompt="a red fox", device=pipe._execution_device, num_images_per_prompt=1, negative_prompt="dog",
            do_classifier_free_guidance=True,
        )  # fmt: skip
    length = theirs[0].shape[1]
    assert torch.allclose(ours["prompt_embeds"][:, :length], theirs[0], atol=1e-5)
    assert torch.allclose(ours["negative_prompt_embeds"][:, :length], theirs[1], atol=1e-5)
    assert ours["prompt_embeds"].shape[1] == 2 * length
    if xl:
        assert torch.allclose(ours["pooled_prompt_embeds"], theirs[2], atol=1e-5)
        assert torch.allclose(ours["negative_pooled_prompt_embeds"], theirs[3], atol=1e-5)


def test_clip_skip_counts_layers_from_the_end(reader):
    pipe = reader.engine.pipe
    inputs = torch.tensor([pipe.tokenizer("fox", padding="max_length", max_length=16).input_ids])
    with torch.inference_mode():
        first = reader.encoders[0]
        hidden = first(inputs, output_hidden_states=True).hidden_states
        width = hidden[0].shape[-1]
        ours = {n: text_arguments(pipe, [("fox", "")], n)["prompt_embeds"][..., :width] for n in (1, 2, 3)}
    xl = len(reader.encoders) > 1
    for skip, made in ours.items():
        expected = hidden[-max(2, skip)] if xl else first.final_layer_norm(hidden[-skip])
        assert torch.allclose(made, expected, atol=1e-5)
    plain = pixels(reader, reader.plan("fox"))
    assert pixels(reader, reader.plan("fox", sampler=Sampler(steps=2, clip_skip=3))) != plain
    assert pixels(reader, reader.plan("fox", sampler=Sampler(steps=2, clip_skip=2 if xl else 1))) == plain
    with pytest.raises(PlanError, match="1 to 3 are possible"):
        pixels(reader, reader.plan("fox", sampler=Sampler(steps=2, clip_skip=4)))


def test_an_encoded_image_does_not_depend_on_who_shares_the_call(reader):
    plans = [reader.plan(text) for text in ("a (red:1.3) fox", LONG, "an owl", "a fox")]
    drawn = draw_all(reader.engine, plans, reader.locate)
    assert [len(images[0].batch.images) for images in drawn] == [1, 1, 2, 2]
    for plan, images in zip(plans[:2], drawn, strict=False):
        assert np.array_equal(images[0].image, render(reader.engine, plan, reader.locate)[0])


def test_words_that_leave_no_token_and_negative_weights_are_harmless(reader):
    for text in ("( :0.5) fox", "(fox:-1) owl", "()", "(:0.3)", "BREAK", "a BREAK BREAK b"):
        assert len(pixels(reader, reader.plan(text))) == 1


def test_other_pipelines_are_handed_words_without_signs(reader, monkeypatch):
    monkeypatch.setattr("diffgraph.merging.sampling.encoding.WEIGHING", frozenset())
    pipe = reader.engine.pipe
    assert not weighs(pipe)
    assert not is_encoded(pipe, (LONG, ""))
    said = text_arguments(pipe, [("a (red:1.3) fox (on the left) BREAK [dull]", "((bad))")])
    assert said == {"prompt": ["a red fox (on the left) dull"], "negative_prompt": ["bad"]}
    with pytest.raises(PlanError, match="leave it out"):
        text_arguments(pipe, [("a", "")], 2)
