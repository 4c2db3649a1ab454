"""The one registry: discovery, names, entry points of real distributions, and one that cannot be loaded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from diffgraph import plugins
from diffgraph.errors import PlanError, UserError
from diffgraph.plugins import Registry, closest

SORT = "diffgraph.test_sort"


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the import path, where a test lays distributions."""
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins._entry_points.cache_clear()
    yield tmp_path
    plugins._entry_points.cache_clear()
    plugins._tried.clear()
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def lay(shelf: Path, dist: str, points: dict[str, str], **modules: str) -> None:
    """A distribution as pip leaves it: metadata with entry points, and its modules."""
    info = shelf / f"{dist}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
    lines = "".join(f"{name} = {module}\n" for name, module in points.items())
    (info / "entry_points.txt").write_text(f"[{SORT}]\n{lines}")
    for name, code in modules.items():
        (shelf / f"{name}.py").write_text(code)


def test_a_distribution_adds_a_plug_in_by_entry_point(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry: Registry[str] = Registry("test plug-in", SORT, error=PlanError)
    monkeypatch.setattr(plugins, "registry_of_this_test", registry, raising=False)
    code = "from diffgraph import plugins\nplugins.registry_of_this_test.add('from_outside', 'hello')\n"
    lay(shelf, "stranger", {"from_outside": "stranger_module"}, stranger_module=code)
    assert registry.get("from_outside") == "hello"
    assert registry.names() == ["from_outside"]
    with pytest.raises(PlanError, match="did you mean from_outside"):
        registry.get("from_outsid")
    with pytest.raises(PlanError, match="from_outside"):
        registry.get("zzz")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import not_installed_anywhere", "not_installed_anywhere"),
        ("def f(:", "SyntaxError"),
        ("raise ValueError('taken')", "taken"),
        ("raise KeyError('x')", "KeyError"),
        ("class Odd(Exception): pass\nraise Odd('of its own')", "of its own"),
        ("import sys\nsys.exit(0)", "SystemExit"),
    ],
)
def test_one_that_cannot_be_loaded_is_told_and_the_others_work(shelf: Path, code: str, why: str) -> None:
    registry: Registry[str] = Registry("test plug-in", SORT)
    registry.add("own", "works")
    lay(shelf, "broken", {"broken": "broken_module"}, broken_module=code)
    assert registry.get("own") == "works"
    assert why in registry.broken["broken"]
    with pytest.raises(UserError, match=f"cannot be loaded.*{why}"):
        registry.get("broken")


def test_what_the_wheel_leaves_out_says_so(shelf: Path) -> None:
    lay(shelf, "half", {"left_out": "diffgraph.left_out.profile"})
    registry: Registry[str] = Registry("base", SORT)
    with pytest.raises(UserError, match="part of the repository and not of the wheel"):
        registry.get("left_out")


def test_names_are_taken_once_and_well_formed() -> None:
    registry: Registry[object] = Registry("test plug-in", SORT)
    registry.add("one", 1)
    with pytest.raises(ValueError, match="two test plug-ins"):
        registry.add("one", 2)
    for bad in ("", "One", "1st", "a b", "a__b", "../x"):
        with pytest.raises(ValueError, match="is no name"):
            registry.add(bad, 3)


def test_a_package_is_imported_when_first_asked() -> None:
    sys.modules.pop("json.tool", None)
    registry: Registry[object] = Registry("test plug-in", SORT, "json")
    assert "json.tool" not in sys.modules
    assert registry.items() == {}
    assert "json.tool" in sys.modules


@pytest.mark.parametrize(
    ("typed", "known", "found"),
    [
        ("concat", ["base", "concat_sum", "uniform"], ["concat_sum"]),
        ("DIFFGRAPH_BRIAN", ["DIFFGRAPH_BRAIN", "DIFFGRAPH_BASE"], ["DIFFGRAPH_BRAIN", "DIFFGRAPH_BASE"]),
        ("Linaer", ["linear", "ties", "dare"], ["linear"]),
        ("zzz", ["linear", "ties", "dare"], []),
        ("composs", ["base", "compose", "decoys"], ["compose"]),
        ("", ["linear"], []),
        ("ab", [], []),
    ],
)
def test_the_closest_names(typed: str, known: list[str], found: list[str]) -> None:
    assert closest(typed, known) == found


def test_closest_names_are_few_ordered_and_found_fast() -> None:
    known = [f"expert-{i}" for i in range(2000)]
    assert closest("expert-77", reversed(known), n=2) == closest("expert-77", known, n=2)
    assert closest("expert-77", known, n=2)[0] == "expert-77"
    assert closest("q", known, n=1, at_least=0.0) == ["expert-0"]
    assert len(closest("expert-1" * 100_000, known)) <= 3


def test_a_second_thread_waits_until_all_are_loaded(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry: Registry[str] = Registry("test plug-in", SORT)
    monkeypatch.setattr(plugins, "registry_of_this_test", registry, raising=False)
    code = "import time\ntime.sleep(0.3)\nfrom diffgraph import plugins\n"
    code += "plugins.registry_of_this_test.add('slow', 'here')\n"
    lay(shelf, "slow", {"slow": "slow_module"}, slow_module=code)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: registry.get("slow"), range(8))) == ["here"] * 8


def test_doctor_finds_every_broken_plug_in_but_what_the_wheel_leaves_out(shelf: Path) -> None:
    lay(shelf, "halves", {"bad": "bad_module", "left_out": "diffgraph.left_out.profile"}, bad_module="import nowhere_x")
    found = plugins.broken_ones()
    assert [name for name in found if SORT in name] == [f"{SORT}: bad"]
    assert "nowhere_x" in found[f"{SORT}: bad"]


def test_a_malformed_entry_point_is_told(shelf: Path) -> None:
    registry: Registry[str] = Registry("test plug-in", SORT)
    lay(shelf, "odd", {"odd": "not a module!!"})
    assert registry.names() == []
    assert "not a module!!" in registry.broken["odd"]


def test_what_a_module_registered_before_it_failed_is_forgotten_and_the_reason_kept(
    shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry: Registry[str] = Registry("test plug-in", SORT)
    monkeypatch.setattr(plugins, "registry_of_this_test", registry, raising=False)
    code = "from diffgraph import plugins\nplugins.registry_of_this_test.add('half', 'hello')\n"
    code += "raise OSError('real reason')\n"
    lay(shelf, "half", {"half": "half_module"}, half_module=code)
    assert registry.names() == []
    assert "real reason" in registry.broken["half"]
    assert "real reason" in plugins.broken_ones()[f"{SORT}: half"]


def test_two_broken_ones_of_a_name_are_both_told(shelf: Path) -> None:
    registry: Registry[str] = Registry("test plug-in", SORT)
    for dist in ("one", "two"):
        lay(shelf, dist, {"same": f"{dist}_module"}, **{f"{dist}_module": f"raise ValueError('it is {dist}')"})
    assert registry.names() == []
    assert all(f"it is {dist}" in registry.broken["same"] for dist in ("one", "two"))
    assert all(f"it is {dist}" in plugins.broken_ones()[f"{SORT}: same"] for dist in ("one", "two"))
