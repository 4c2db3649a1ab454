"""The page: self-contained, escaped, and about the run that it is of."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from diffgraph.agents.runs import folder
from diffgraph.agents.runs import page as page_of_run
from diffgraph.agents.runs.generate import generate
from diffgraph.agents.scout import scout
from diffgraph.agents.state import State
from diffgraph.errors import UserError
from diffgraph.settings import Settings
from diffgraph.tools.context import Context
from diffgraph.tools.events import Event
from diffgraph.tools.propose_plan import ProposeArgs

VOID = {"meta", "img", "br", "rect", "path", "link", "input"}


class Checked(HTMLParser):
    """Every tag is closed in order; what the page loads is collected, and the cells of tables of atoms."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.rows: list[list[str]] = []
        self.atoms = False
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.atoms = dict(attrs).get("class") == "atoms"
        elif tag == "tr" and self.atoms:
            self.rows.append([])
        elif tag in ("td", "th") and self.atoms:
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.atoms and {"td", "th"} & set(self.open):
            self.rows[-1][-1] = " ".join(f"{self.rows[-1][-1]} {data}".split())


def checked(html: str) -> Checked:
    page = Checked()
    page.feed(html)
    page.close()
    assert page.open == []
    return page


def test_the_page_holds_everything_and_loads_nothing(ctx: Context) -> None:
    result = generate("octopus, blueprint style, impasto style", n=2, context=ctx)
    html = result.page.read_text(encoding="utf-8")
    page = checked(html)
    pictures = [a for t, a in page.tags if t == "img"]
    assert len(pictures) == 2 + 3  # ours, and base alone, and each of two experts alone
    assert all(str(a["src"]).startswith("data:image/png;base64,") for a in pictures)
    assert all(a["class"] == "crisp" and a["width"] == "256" for a in pictures)
    assert not re.search(r'(?:src|href)="(?!data:)', html)
    assert "http" not in html.replace("http-equiv", "")
    assert "script" not in {t for t, _ in page.tags}
    for text in (
        "octopus",
        "blueprint style",
        "nothing here draws this",
        "Sea life",
        "world/sea-life",
        "linear",
        "0.90",
        "base alone",
    ):
        assert text in page.text
    assert result.plan is not None
    assert result.plan.plan_id in page.text
    assert "prefers-color-scheme:dark" in html
    assert 'name="viewport"' in html
    drawn = [a for t, a in page.tags if t == "rect"]
    assert len(drawn) == 1 + 2 + 2 + 1  # prompt, facets, experts, merge
    assert result.scores is not None
    assert {image.by for image in result.scores.images} == {"world"}
    assert page.text.count("Judged by world") == 2 + 3


def test_strangers_cannot_write_markup(
    make_settings: Callable[..., Settings], world: Path, tiny: ModuleType, put_works: Callable
) -> None:
    evil = '<script>alert(1)</script><img src=x onerror="alert(2)">'
    tiny.lora(world / "hub" / "evil", 31, evil, f"- kraken {evil[:40]}\n- kraken\n")
    tiny.manifest(world)
    with Context.open(make_settings(base=f"world:{world}")) as ctx:
        (expert,) = scout(ctx)[0]
        ctx.store.put_calibration(put_works(expert.id, expert.sha256))
        result = generate(f"kraken {evil}", context=ctx)
    assert result.images
    page = checked(result.page.read_text(encoding="utf-8"))
    assert not {"script", "iframe", "object"} & {t for t, _ in page.tags}
    assert all(str(a["src"]).startswith("data:") for t, a in page.tags if t == "img")
    assert not any(name.startswith("on") for _, a in page.tags for name in a)
    assert "<script>" in page.text  # shown, as text
    assert re.fullmatch(r"\d{4}-kraken-script-alert-1[a-z0-9-]*", result.run_dir.name)


def test_a_page_without_an_image(ctx: Context) -> None:
    page = checked(generate("tax law", context=ctx).page.read_text(encoding="utf-8"))
    assert "tax law" in page.text
    assert not any(t in ("img", "svg") for t, _ in page.tags)


def test_run_folders_are_numbered_and_never_shared(tmp_path: Path) -> None:
    names = [folder.new(tmp_path, "Octopus, ../../blueprint!").name for _ in range(3)]
    assert names == [f"000{i}-octopus-blueprint" for i in (1, 2, 3)]
    assert folder.new(tmp_path, "ὀκτώπους").name == "0004-run"


def test_no_folder_ends_the_numbers(tmp_path: Path) -> None:
    for name in ("9999-x", "0002-y", "123456789012-z", "notes"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert [folder.new(tmp_path, "octopus").name for _ in range(2)] == ["10000-octopus", "10001-octopus"]


def test_a_home_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="DIFFGRAPH_HOME"):
        folder.new(tmp_path, "x")


def test_a_trace_survives_a_cut_line(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    folder.Trace(path)(Event(kind="node", text="x", node="merge", seconds=1.5))
    with path.open("a") as file:
        file.write('{"t": 3, "kind')
    assert [e.kind for e in folder.read_trace(path)] == ["node"]
    assert folder.timings(folder.read_trace(path))["merge"] == 1.5


def test_the_page_says_where_an_expert_has_another_weight(ctx: Context) -> None:
    (found,) = ctx.store.calibrations("world/blueprint")
    ctx.store.put_calibration(found.model_copy(update={"coarse": 0.5}))
    result = generate("octopus, blueprint style", context=ctx, compare=False)
    text = checked(result.page.read_text(encoding="utf-8")).text
    assert "× 0.5 in unet.down_blocks.1.*, unet.mid_block.*, unet.up_blocks.0.*" in text


def test_the_page_says_which_trigger_the_prompt_leaves_out(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = ctx.store.calibrations("world/blueprint")
    ctx.store.put_calibration(found.model_copy(update={"unasked": {"blueprint": 1.0}}))
    with monkeypatch.context() as patch:
        patch.setattr("diffgraph.agents.brains.offline.revise", lambda *_: ProposeArgs(say=False))
        result = generate("octopus, blueprint style", context=ctx, compare=False)
    assert result.plan is not None
    assert result.plan.prompt == "octopus"
    text = checked(result.page.read_text(encoding="utf-8")).text
    assert "blueprint style is left out" in text
    assert result.rounds[0].unsaid == "blueprint style"
    plain = generate("octopus, starry night background", context=ctx, compare=False)
    assert "is left out" not in checked(plain.page.read_text(encoding="utf-8")).text


def test_what_strangers_wrote_is_shown_without_controls(ctx: Context) -> None:
    sea = ctx.store.expert("world/sea-life")
    ctx.store.add_experts([sea.model_copy(update={"title": "Sea\x1b[31m\x9b2J\u202e <b>life</b>\x00"})])
    html = generate("octopus", context=ctx, compare=False).page.read_text(encoding="utf-8")
    assert "Sea &lt;b&gt;life&lt;/b&gt;" in html
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", html)


WANTED = "octopus, blueprint style"


def judged(ctx: Context, facets: dict[str, float], **said: Any) -> str:
    """The page of a drawn prompt as it is with this said of its image by a critic."""
    result = generate(WANTED, context=ctx, compare=False)
    assert result.scores is not None
    image = result.scores.images[0].model_copy(update={"facets": facets, **said})
    scores = result.scores.model_copy(update={"images": (image,), "facets": facets})
    state = State(
        prompt=WANTED,
        run_dir=str(result.run_dir),
        activation=result.activation,
        plan_id=result.plan.plan_id if result.plan else "",
        images=tuple(path.name for path in result.images),
        scores=scores,
        status="best effort",
        rounds=result.rounds,
    )
    return page_of_run.render(ctx, state)


def test_a_row_for_each_thing_that_was_asked_for(ctx: Context) -> None:
    facets = {"octopus": 0.93, "blueprint style": 0.21}
    seen = {"blueprint style": "a pencil sketch"}
    html = judged(ctx, facets, seen=seen, by="vlm:openai:eyes", score=0.44)
    page = checked(html)
    assert page.rows == [
        ["verdict", "what was asked for", "probability"],
        ["✓ shown", "octopus subject", "0.93"],
        ["✗ missing", "blueprint style style seen instead: a pencil sketch", "0.21"],
    ]
    assert "score 0.44 · 1 of 2 shown" in page.text
    assert "Judged by vlm:openai:eyes" in page.text
    (image,) = [a for t, a in page.tags if t == "img"]
    assert image["alt"] == "seed 0: shows octopus, misses blueprint style"
    widths = [a["style"] for t, a in page.tags if t == "i"]
    assert widths == ["width:93%", "width:21%"]
    # Marks and bars are for the eye: a screen reader has them as words and numbers.
    hidden = [t for t, a in page.tags if a.get("aria-hidden") == "true"]
    assert hidden == ["span"] * 4


@pytest.mark.parametrize(
    ("sees", "score", "frame"),
    [
        ({"octopus": 0.99, "blueprint style": 0.99}, 0.99, "good"),
        ({"octopus": 0.99, "blueprint style": 0.4}, 0.99, "warn"),
        ({"octopus": 0.6, "blueprint style": 0.6}, 0.6, "warn"),
    ],
)
def test_a_green_frame_is_for_an_image_that_will_do(
    ctx: Context, sees: dict[str, float], score: float, frame: str
) -> None:
    html = judged(ctx, sees, score=score, by="vlm:openai:eyes")
    assert [a["style"] for t, a in checked(html).tags if t == "figure" and "style" in a][:1] == [
        f"--frame:var(--{frame})"
    ]
    assert f"--{frame}:" in html


def test_what_nobody_judged_is_said_to_be_unjudged(ctx: Context) -> None:
    page = checked(judged(ctx, {"octopus": 0.93}, by=""))
    assert page.rows[1:] == [
        ["✓ shown", "octopus subject", "0.93"],
        ["○ not judged", "blueprint style style", "not judged"],
    ]
    assert "Judged by a critic whose name was not kept" in page.text


def test_what_a_critic_writes_is_only_text(ctx: Context) -> None:
    evil = '</td><script>alert(1)</script><img src=x onerror="x">'
    html = judged(ctx, {"octopus": 0.1, evil: 0.2}, seen={"octopus": f"\x1b[2J{evil}" + "x" * 999}, by=evil)
    page = checked(html)
    assert not {"script", "iframe"} & {t for t, _ in page.tags}
    assert len([t for t, _ in page.tags if t == "img"]) == 1
    assert not any(name.startswith("on") for _, a in page.tags for name in a)
    assert "x" * 200 not in html
    assert "\x1b" not in html
    assert f"seen instead: {evil[:30]}" in page.text


def test_an_expert_that_was_called_for_and_not_merged_is_said_to_be(ctx: Context) -> None:
    whole = generate(WANTED, context=ctx, compare=False)
    alone = generate("octopus", context=ctx, compare=False)
    assert alone.plan is not None
    state = State(
        prompt=WANTED, run_dir=str(whole.run_dir), activation=whole.activation, plan_id=alone.plan.plan_id
    )  # fmt: skip
    text = checked(page_of_run.render(ctx, state)).text
    assert "style · Blueprint, not merged" in text
    assert "subject · Sea life" in text
    assert "Sea life, not merged" not in text
