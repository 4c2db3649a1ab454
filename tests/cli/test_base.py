"""``diffgraph base``, and what ``doctor``, ``experts`` and ``scout`` say on a base of a person's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner, Result

from diffgraph.cli.main import app
from diffgraph.graph.calibration.record import Calibration
from diffgraph.graph.experts.expert import Expert, Skill, SourceRef
from diffgraph.graph.store.opening import open_graph
from diffgraph.settings import Settings

CROSS = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"


def pipeline(folder: Path, value: float = 0.0, width: int = 768) -> Path:
    """A diffusers folder with one weight, enough to be told, hashed and indexed."""
    (folder / "unet").mkdir(parents=True)
    listing = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    (folder / "model_index.json").write_text(json.dumps(listing))
    save_file({CROSS: np.full((4, width), value, np.float16)}, folder / "unet" / "diffusion_pytorch_model.safetensors")
    return folder


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("DIFFGRAPH_BASE", "DIFFGRAPH_SOURCES", "DIFFGRAPH_CRITIC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DIFFGRAPH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def diffgraph(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def document(*words: str) -> dict[str, object]:
    done = diffgraph(*words, "--json")
    assert done.exit_code == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def checks() -> dict[str, str]:
    found = json.loads(diffgraph("doctor", "--json").stdout)
    return {check["name"]: check["text"] for check in found["checks"]}


def an_expert(name: str, family: str) -> Expert:
    ref = SourceRef(source="folder", repo=name, revision="1", file="w.safetensors")
    skill = Skill(facet="subject", name="fox", trigger="fox")
    return Expert(
        id=f"folder/{name}", title=name, ref=ref, sha256="0" * 64, base_family=family, kind="lora", size_bytes=1,
        skills=(skill,), text="fox",
    )  # fmt: skip


def test_a_base_is_added_listed_shown_used_and_removed(tmp_path: Path) -> None:
    one, two = pipeline(tmp_path / "one"), pipeline(tmp_path / "two", 1.0, 2048)
    done = diffgraph("base", "add", str(one))
    assert done.exit_code == 0
    assert "one is drawn with from here on" in done.stderr
    added = document("base", "add", str(two), "--name", "second")
    assert (added["name"], added["architecture"], added["kind"]) == ("second", "sdxl", "folder")
    rows = document("base", "list")["bases"]
    assert isinstance(rows, list)
    assert [(row["name"], row["in_force"]) for row in rows] == [("one", True), ("second", False), ("world", False)]
    assert document("base", "use", "second") == {"default": "second"}
    assert document("base", "show")["name"] == "second"
    assert document("base", "show", "one")["architecture"] == "sd15"
    assert "sdxl" in diffgraph("base", "list").stdout
    assert document("base", "remove", "second") == {"removed": "second"}
    assert two.is_dir()


def test_the_variable_goes_before_the_base_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline(tmp_path / "one")
    diffgraph("base", "add", str(tmp_path / "one"))
    monkeypatch.setenv("DIFFGRAPH_BASE", str(pipeline(tmp_path / "two", 1.0)))
    assert document("base", "show")["name"] == "two"
    assert "DIFFGRAPH_BASE=" in diffgraph("base", "use", "one").stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("show", "nothing"), "There is no base 'nothing'"),
        (("use", "wrld"), "Did you mean world"),
        (("remove", "x"), "There is no base 'x'"),
        (("add", "nowhere/at/all"), "model_index.json is missing"),
        (("add", "."), "model_index.json is missing"),
    ],
)
def test_what_cannot_be_is_a_sentence(words: tuple[str, ...], says: str) -> None:
    done = diffgraph("base", *words)
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.output


def test_doctor_tells_the_truth_about_a_base(tmp_path: Path, home: Path) -> None:
    folder = pipeline(tmp_path / "one")
    diffgraph("base", "add", str(folder))
    found = checks()
    assert found["base"] == f"one is known: a folder, {folder}"
    assert found["weights"].startswith("architecture sd15, family sd15; ")
    assert "open vocabulary" in found["draws"]
    assert "unjudged" in found["critic"]
    assert found["graph"].startswith("0 experts, 0 calibrated on this base; 0 runs")
    assert found["next"].startswith("diffgraph scout FOLDER")
    with open_graph(Settings(home=home)) as store:
        store.add_experts([an_expert("mine", "sd15"), an_expert("theirs", "sdxl")])
        known = {"expert_id": "folder/mine", "expert_sha256": "0" * 64, "plan_context_hash": "c", "verdict": "works"}
        store.put_calibration(Calibration.model_validate({**known, "base": "f" * 64}))  # on another base
    found = checks()
    assert found["graph"].startswith("1 experts, 0 calibrated on this base; 1 for other architectures")
    assert found["next"].startswith("diffgraph generate")


def test_doctor_says_where_a_base_is_unknown_or_gone(tmp_path: Path) -> None:
    folder = pipeline(tmp_path / "odd", width=333)
    diffgraph("base", "add", str(folder))
    assert "no known family, so generic values" in checks()["weights"]
    folder.rename(tmp_path / "elsewhere")
    assert "not there any more" in checks()["base"]


def test_experts_lists_those_of_the_base_in_force(tmp_path: Path, home: Path) -> None:
    diffgraph("base", "add", str(pipeline(tmp_path / "one")))
    assert "no expert for sd15" in diffgraph("experts").stderr
    with open_graph(Settings(home=home)) as store:
        store.add_experts([an_expert("mine", "sd15"), an_expert("theirs", "sdxl")])

    def listed(*more: str) -> list[str]:
        rows = document("experts", *more)["experts"]
        assert isinstance(rows, list)
        return [row["id"] for row in rows]

    assert listed() == ["folder/mine"]
    assert listed("--all") == ["folder/mine", "folder/theirs"]
    assert listed("--family", "sdxl") == ["folder/theirs"]
    assert "1 more are for other architectures" in diffgraph("experts").stderr


def test_scouting_the_models_does_not_make_the_base_an_expert(tmp_path: Path) -> None:
    models = tmp_path / "models"
    diffgraph("base", "add", str(pipeline(models / "one")))
    pipeline(models / "fine-tune", 1.0)
    found = document("scout", str(models))
    assert [name.rpartition("-")[0] for name in found["registered"]] == ["folder/fine-tune"]  # type: ignore[attr-defined]
    (refused,) = found["refused"]  # type: ignore[misc]
    assert "weights of the base one itself" in refused["why"]


def test_scouting_nowhere_says_where_to_look(tmp_path: Path) -> None:
    diffgraph("base", "add", str(pipeline(tmp_path / "one")))
    done = diffgraph("scout")
    assert done.exit_code == 2
    assert "diffgraph scout ~/loras" in " ".join(done.stderr.split())
    assert "nothing is measured" in " ".join(diffgraph("calibrate", "--all").stderr.split())


@pytest.mark.parametrize("prompt", ["--ar 16:9 a fox", "--zebra", "-a fox"])
def test_a_prompt_that_begins_with_a_dash_is_told_its_place(prompt: str) -> None:
    done = diffgraph("generate", prompt)
    assert done.exit_code == 2
    assert "goes behind `--`" in " ".join(done.stderr.replace("│", "").split())
    assert "goes behind" not in diffgraph("base", "list", "--fox").stderr


def test_a_damaged_folder_and_no_folder_are_refused(tmp_path: Path) -> None:
    (pipeline(tmp_path / "one") / "model_index.json").write_text("[]")
    for place, says in {"one": "model_index.json is not a JSON object", "": "Name the base"}.items():
        done = diffgraph("base", "add", place)
        assert done.exit_code == 2
        assert says in " ".join(done.stderr.split())
