"""What a base does not read of a prompt is named, from configurations and tokenizers alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from diffgraph.errors import UserError
from diffgraph.merging.plan.check import check
from diffgraph.merging.plan.merge_plan import Sampler
from diffgraph.merging.plan.prompt_fit import FileTokenizer, clip_skip_problem, cut, prompt_notes, text_side

LIMIT = 16


@pytest.fixture
def two_readers(base_dir, tmp_path):
    """A base of a kind that weighs nothing: CLIP of 16 tokens, and a second reader of 30."""
    folder = tmp_path / "flow"
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(base_dir / "tokenizer", folder / name)
    shutil.copytree(base_dir / "text_encoder", folder / "text_encoder")
    settings = folder / "tokenizer_2" / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"model_max_length": 30}))
    declared = {
        "_class_name": "FluxPipeline",
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "T5EncoderModel"],
    }
    (folder / "model_index.json").write_text(json.dumps(declared))
    return folder


def test_a_base_that_weighs_reads_everything(base_dir):
    side = text_side(base_dir)
    assert side.weighs
    assert side.clip_layers == 2
    assert prompt_notes(base_dir, "(a:1.3) " * 300, "b BREAK c") == ()
    (note,) = prompt_notes(base_dir, "a (b:-1)")
    assert "counts as 0: b" in note


def test_what_is_cut_is_named_word_by_word(two_readers):
    assert prompt_notes(two_readers, "a b c") == ()
    words = [chr(97 + i % 26) for i in range(20)]
    (said,) = prompt_notes(two_readers, " ".join(words))
    assert said == "CLIPTextModel does not read the prompt from 'o' on; the other text encoder does"
    long = " ".join([*words, *"uvwxyzabcdefgh"])
    cut_, _ = prompt_notes(two_readers, long)
    assert cut_.endswith("do not read the end of the prompt: c d e f g h")
    assert prompt_notes(two_readers, long, limit=200) == (said,)
    weighted = prompt_notes(two_readers, "a (b:1.3) c BREAK d", "((e))")
    assert [note.partition(". ")[0] for note in weighted] == ["not obeyed: (b:1.3), BREAK", "not obeyed: ((e))"]


def test_a_word_that_is_read_in_part_is_not_read(base_dir):
    tokenizer = FileTokenizer(base_dir / "tokenizer")
    assert cut(tokenizer, "abc defg", 16) == ()
    assert cut(tokenizer, "abc defg", 7) == ("defg",)
    assert cut(tokenizer, "abc defg", 2) == ("abc", "defg")
    assert cut(tokenizer, "abc, d", 5) == ("d",)


def test_a_tokenizer_of_vocabulary_and_merges_is_read_too(base_dir, tmp_path):
    folder = tmp_path / "tokenizer"
    shutil.copytree(base_dir / "tokenizer", folder)
    made = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(made["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    whole = FileTokenizer(base_dir / "tokenizer")
    for text in ("abc defg", "ABC,  d", "a b" * 9, ""):
        assert FileTokenizer(folder).spans(text) == whole.spans(text)
    (folder / "tokenizer.json").write_text("{}")
    for broken in (tmp_path / "nowhere", shutil.copytree(folder, tmp_path / "broken")):
        with pytest.raises(UserError, match="tokenizer in"):
            FileTokenizer(broken)


def test_no_torch_is_needed(two_readers):
    code = (
        "import sys; from pathlib import Path; from diffgraph.merging.plan.prompt_fit import prompt_notes;"
        "print(len(prompt_notes(Path(sys.argv[1]), 'a ' * 90)), 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(two_readers)], check=True, capture_output=True, text=True)
    assert run.stdout.split() == ["2", "False"]


def test_clip_skip_is_possible_or_a_sentence(world):
    assert (
        clip_skip_problem(12, True, None) == clip_skip_problem(0, False, None) == clip_skip_problem(12, True, 2) == ""
    )
    assert "1 to 12 are possible" in clip_skip_problem(12, True, 13)
    assert "leave it out" in clip_skip_problem(12, False, 1)
    report = check(world.plan(sampler=Sampler(steps=2, clip_skip=3)), world.base, world.locate)
    assert [problem.code for problem in report.problems] == ["clip_skip"]
    assert not report.ok
