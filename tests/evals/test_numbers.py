"""The tables of docs/numbers.md are laid out from the suites' own summaries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diffgraph.errors import UserError
from diffgraph.evals import by_style, numbers
from diffgraph.evals.log import Row
from diffgraph.evals.report import summarise, write_report
from diffgraph.evals.suites.image_suite import ImageSuite
from diffgraph.evals.suites.items import Item
from diffgraph.evals.suites.selection import Choice, grade, rate
from diffgraph.evals.suites.truth import truth


def _row(arm: str, item: str, group: str, hits: dict[str, bool]) -> Row:
    return Row(arm=arm, item=item, group=group, seed=0, hits=hits, joint=all(hits.values()))


def _write(root: Path, folder: str, rows: list[Row], arms: list[str]) -> None:
    (root / folder).mkdir(parents=True)
    (root / folder / "summary.json").write_text(summarise(rows, arms).model_dump_json())


def test_tables_hold_the_figures_of_the_newest_run(tmp_path: Path) -> None:
    rows = [_row("base", f"own/{i}", "own subjects", {"subject": i < 3}) for i in range(4)]
    _write(tmp_path, "base-abc", rows, ["base"])
    pair = {"subject": True, "style": False}
    rows = [_row("base", f"x/{i}", "style neon", pair) for i in range(4)]
    rows += [_row("oracle_choice", f"x/{i}", "style neon", {"subject": i > 0, "style": True}) for i in range(4)]
    _write(tmp_path, "experts-abc", rows, ["base", "oracle_choice"])
    found = numbers.blocks(tmp_path)
    assert set(found) == {"world"}
    assert "| base: own subjects | 75 % [" in found["world"]
    assert "| style neon | 0 % | 100 % | 75 % |" in found["world"]


def test_compose_marks_ours_and_gives_p(tmp_path: Path) -> None:
    items = [f"pair/{i}" for i in range(12)]
    rows = [_row("ours", i, "pair", {"subject": True, "style": True}) for i in items]
    rows += [_row("uniform", i, "pair", {"subject": True, "style": False}) for i in items]
    rows += [_row("ours", "one", "alone", {"subject": True}), _row("uniform", "one", "alone", {"subject": True})]
    _write(tmp_path, "compose-1", rows, ["uniform", "ours"])
    text = numbers.blocks(tmp_path)["compose"]
    ours = next(line for line in text.splitlines() if "ours: the whole machine" in line)
    assert ours.startswith("| **")
    assert "100 % [100, 100]" in ours
    uniform = next(line for line in text.splitlines() if "equal weights" in line)
    assert "< 0.001" in uniform


def test_methods_have_a_table_of_their_own_the_best_first(tmp_path: Path) -> None:
    right = {"method:ties": 1, "method:linear": 2, "method:np_lora": 4, "ours": 4}
    rows = [_row(a, f"pair/{i}", "pair", {"style": i < n}) for a, n in right.items() for i in range(4)]
    rows += [_row(a, "one", "subject", {"subject": True}) for a in right]
    _write(tmp_path, "compose-1", rows, list(right))
    found = numbers.blocks(tmp_path)
    head, _, *lines = found["methods"].splitlines()
    assert head == "| method | pair | all prompts | beside `linear` |"
    assert [line.split("|")[1].strip() for line in lines] == ["`np_lora`", "`linear`", "`ties`"]
    beside = [line.split("|")[4].strip() for line in lines]
    assert [text.partition(" ")[0] for text in beside] == ["+40.0", "", "-20.0"]
    low, high = (float(bound) for bound in beside[0].partition(" ")[2].strip("[]").split(", "))
    assert 0.0 <= low < 40.0 < high <= 100.0
    assert "np_lora" not in found["compose"]
    # A result of before differences were kept still has its table.
    kept = tmp_path / "compose-1" / "summary.json"
    kept.write_text(json.dumps({k: v for k, v in json.loads(kept.read_text()).items() if k != "methods"}))
    assert numbers.blocks(tmp_path)["methods"].splitlines()[2].endswith("|  |")
    assert "methods" not in numbers.blocks(tmp_path / "none")


def test_p_is_corrected_among_arms_of_a_kind() -> None:
    """Three controls lose alike; how a bound stands to ours makes none of them less sure."""
    items = [f"pair/{i}" for i in range(5)]
    right = {"ours": 5, "uniform": 0, "base": 0, "concat_sum": 0, "oracle_choice": 0}
    rows = [_row(arm, x, "pair", {"style": i < n}) for arm, n in right.items() for i, x in enumerate(items)]
    tests = summarise(rows, list(right)).tests["pair"]
    assert {t.p for t in tests.values()} == {2 / 2**5}
    assert {arm: t.p_holm for arm, t in tests.items()} == {
        "uniform": 6 / 2**5, "base": 6 / 2**5, "concat_sum": 6 / 2**5, "oracle_choice": 2 / 2**5,
    }  # fmt: skip


def test_styles_are_told_apart(tmp_path: Path) -> None:
    items, rows = [], []
    for n, (style, right) in enumerate([("neon", True), ("neon", False), ("halftone", True)]):
        items.append(Item(id=f"p/{n}", group="pair", prompt="x", canonical="x", subject="owl", style=style))
        rows.append(_row("ours", f"p/{n}", "pair", {"subject": right, "style": True}))
    items.append(Item(id="s/0", group="alone", prompt="x", canonical="x", subject="owl"))
    rows.append(_row("ours", "s/0", "alone", {"subject": True}))
    found = by_style.by_style(rows, items)
    assert set(found) == {"pair"}
    assert {style: cells["ours"].mean for style, cells in found["pair"].items()} == {"neon": 0.5, "halftone": 1.0}
    summary = summarise(rows, ["ours"]).model_copy(update={"styles": found})
    assert "| ours: the whole machine | 0.50 | 1.00 |" in by_style.markdown(summary)
    (tmp_path / "compose-1").mkdir()
    (tmp_path / "compose-1" / "summary.json").write_text(summary.model_dump_json())
    assert "| halftone | 100 % [100, 100] |" in numbers.blocks(tmp_path)["styles"]
    suite = ImageSuite(name="x", title="X", items=tuple(items))
    page = write_report(suite, tmp_path, tmp_path / "log.jsonl", rows, ["ours"]).html.read_text()
    assert "<h2>pair, by style</h2>" in page
    assert "<td>0.50</td><td>1.00</td>" in page


def test_no_results_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no results yet"):
        numbers.main([str(tmp_path)])


def test_selection_is_laid_out_from_what_the_suite_writes(tmp_path: Path) -> None:
    choice = Choice(id="x", group="named", prompt="octopus", want={"subject": ("octopus",)})
    rows = [grade(choice, ["world/sea-life"], [], truth())]
    (tmp_path / "selection").mkdir()
    (tmp_path / "selection" / "summary.json").write_text(
        json.dumps({"all prompts": rate(rows).model_dump(mode="json")})
    )
    text = numbers.blocks(tmp_path)["selection"]
    assert "| all prompts | 1 | 1.0 | 1.0 | 1.0 | 0 | 100 % [100, 100] |" in text


def test_decoys_say_how_many_merges_were_refused(tmp_path: Path) -> None:
    missed = _row("oracle_choice", "w/1", "wrong family", {"subject": False, "style": False})
    refused = missed.model_copy(update={"error": "no"})
    rows = [_row("base", "w/1", "wrong family", {"subject": True, "style": False}), refused]
    _write(tmp_path, "decoys-1", rows, ["base", "oracle_choice"])
    assert "| wrong family | 0 % | 0 % | 0 % | 1 of 1 |" in numbers.blocks(tmp_path)["decoys"]
