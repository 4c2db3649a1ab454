"""Merges written to a file weight by weight: the engine's bits, under a budget, whole or not at all."""

from __future__ import annotations

import collections
import errno
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode

from diffgraph.bases.index import target_name
from diffgraph.errors import BudgetExceeded, DiffGraphError, ExpertError, PlanError, UserError
from diffgraph.files import atomic
from diffgraph.files.header import read_header
from diffgraph.files.tensor_io import HASH_KEY, RowReader, RowWriter, TensorEntry, file_size, write_tensors
from diffgraph.merging.engine.free_memory import left_of, parse_bytes, resident_bytes
from diffgraph.merging.engine.stream import FileMerge
from diffgraph.merging.export.export import export_denoiser, export_lora, export_pipeline, refuse_existing
from diffgraph.merging.plan.merge_plan import Switch


@pytest.fixture
def tuned_too(world):
    """A second fine-tune, which differs from the base everywhere."""
    generator = torch.Generator().manual_seed(9)
    world.checkpoint("tuned_too", lambda key, t: t + 0.01 * torch.randn(t.shape, generator=generator))
    return world


def left_behind(folder):
    return sorted(path.name for path in folder.iterdir())


# -- the file itself -------------------------------------------------------------------------------------------------


def test_a_written_file_is_a_safetensors_file_with_the_hash_of_its_tensors(tmp_path):
    tensors = {
        "b": torch.arange(6, dtype=torch.float16).reshape(2, 3),
        "a": torch.randn(3, 2, 2),
        "one": torch.tensor(2.5),
        "none": torch.zeros(0, 4),
        "w": torch.randn(5).to(torch.bfloat16),
        "i": torch.arange(3),
    }
    path = tmp_path / "x.safetensors"
    with atomic.new_file(path) as file:
        digest = write_tensors(file, tensors, {"note": "0x" + "-" * 64, "format": "pt"})
    back = load_file(path)
    assert set(back) == set(tensors)
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())
    header = read_header(path)
    assert header.metadata == {"note": "0x" + "-" * 64, "format": "pt", HASH_KEY: f"0x{digest}"}
    length = int.from_bytes(path.read_bytes()[:8], "little")
    assert length % 8 == 0
    assert hashlib.sha256(path.read_bytes()[8 + length :]).hexdigest() == digest
    reader = RowReader(header)
    assert torch.equal(reader.rows("a", 1, 3), tensors["a"][1:3])
    assert torch.equal(reader.rows("one"), tensors["one"])
    assert b"".join(bytes(c.numpy()) for c in reader.chunks("b", 5)) == bytes(tensors["b"].view(torch.uint8).numpy())


def test_a_file_that_is_not_full_or_became_shorter_is_refused(tmp_path):
    entries = [TensorEntry("a", "F32", (2, 2))]
    with (tmp_path / "x").open("w+b") as file:
        writer = RowWriter(file, entries, {})
        writer.write(torch.zeros(1, 2))
        with pytest.raises(ValueError, match="8 bytes"):
            writer.finish()
    assert file_size(entries, {}) == (tmp_path / "x").stat().st_size + 8
    save_file({"a": torch.ones(4)}, tmp_path / "y.safetensors")
    reader = RowReader(read_header(tmp_path / "y.safetensors"))
    os.truncate(tmp_path / "y.safetensors", reader.header.size_bytes - 4)
    with pytest.raises(UserError, match="became shorter"):
        reader.rows("a")
    (tmp_path / "y.safetensors").unlink()
    with pytest.raises(UserError, match="cannot be read"):
        reader.rows("a")


# -- equal to the engine ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("linear", {}),
        ("linear", {"normalize": "softmax"}),
        ("ties", {"density": 0.3}),
        ("magnitude_balanced", {"scope": "expert"}),
        ("np_lora", {"directions": 2}),
    ],
)
def test_a_written_pipeline_holds_the_engines_bits(world, engine, tmp_path, method, params):
    world.lora("words", 5, text={"r": 2, "lora_alpha": 2, "target_modules": ["q_proj", "v_proj"]})
    blocks = {"mid_block.*": 0.25, "up_blocks.0.*": 0.0}
    experts = [world.expert("words", 0.8, blocks=blocks), world.expert("ink", -0.5, "style")]
    plan = world.plan(*experts, world.expert("tuned", 1.5), method=method, params=params)
    engine.apply(plan, world.locate)
    merge = FileMerge(plan, world.base, world.locate)
    report = export_pipeline(merge, tmp_path / "out", {})
    seen = 0
    for component, files in world.base.files.items():
        for file in files:
            written = load_file(tmp_path / "out" / file.relative_to(world.base_dir))
            assert set(written) == set(load_file(file))
            for key, tensor in written.items():
                live = engine.weights.get(target_name(component, key))
                if live is not None:
                    seen += 1
                    assert torch.equal(tensor, live), key
    assert seen == len(engine.weights)
    changed = {t for t, weight in engine.weights.items() if not torch.equal(weight, engine.pristine[t])}
    assert changed <= merge.touched
    assert report.targets == len(merge.touched)


class Live(TorchDispatchMode):
    """Counts the bytes of all storages that are alive, whoever shares them."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self._users = collections.Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                place, size = storage.data_ptr(), storage.nbytes()
                if size and not self._users[place]:
                    self.now += size
                self._users[place] += 1
                self.peak = max(self.peak, self.now)
                weakref.finalize(tensor, self._gone, place, size)
        return out

    def _gone(self, place, size):
        self._users[place] -= 1
        if size and not self._users[place]:
            self.now -= size


@pytest.mark.parametrize("budget", [40_000, 80_000])
def test_under_a_budget_the_live_bytes_stay_below_it_and_the_file_is_the_same(tuned_too, tmp_path, budget):
    world = tuned_too
    plan = world.plan(world.expert("tuned", 0.7), world.expert("tuned_too", -0.4))
    export_denoiser(FileMerge(plan, world.base, world.locate), tmp_path / "whole.safetensors", {})
    merge = FileMerge(plan, world.base, world.locate, budget)
    shapes = {t: world.base.shape(t) for t in merge.targets}
    assert any(merge.rows_at_once(t, torch.float32) < shape[0] for t, shape in shapes.items())
    with Live() as live:
        export_denoiser(merge, tmp_path / "rows.safetensors", {})
    assert 0 < live.peak <= budget
    assert (tmp_path / "rows.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    with Live() as live:
        export_denoiser(FileMerge(plan, world.base, world.locate), tmp_path / "w.safetensors", {}, dtype=torch.float16)
    assert live.peak > 80_000  # so the budgets above were a bound


@pytest.mark.parametrize("method", ["linear", "ties", "magnitude_balanced"])
def test_what_is_told_of_a_weights_need_is_never_too_little(tuned_too, tmp_path, method):
    world = tuned_too
    plan = world.plan(world.expert("tuned_too"), world.expert("owl"), world.expert("ink", 0.5), method=method)
    merge = FileMerge(plan, world.base, world.locate)
    for target in merge.targets:
        fixed, per_row = merge._need(target, torch.float32)
        with Live() as live:
            for block in merge.weight(target, torch.float32):
                del block
        assert live.peak <= fixed + per_row * world.base.shape(target)[0], target


def test_a_method_that_needs_whole_weights_says_how_much(tuned_too, tmp_path):
    world = tuned_too
    plan = world.plan(world.expert("tuned"), world.expert("tuned_too"), method="ties")
    with pytest.raises(BudgetExceeded, match=r"unet\..* MB to merge with ties"):
        export_denoiser(FileMerge(plan, world.base, world.locate, 40_000), tmp_path / "x.safetensors", {})
    tiny = FileMerge(world.plan(world.expert("tuned_too")), world.base, world.locate, 100)
    with pytest.raises(BudgetExceeded, match="give it more"):
        export_pipeline(tiny, tmp_path / "x", {})
    with pytest.raises(BudgetExceeded, match="to hold whole"):
        export_lora(tiny, tmp_path / "x.safetensors", {}, rank=2)
    assert not [name for name in left_behind(tmp_path) if "x" in name]


def test_a_zero_of_either_sign_that_no_expert_touches_keeps_its_bits(world, tmp_path, engine):
    """By rows and whole alike: a part that equals the base everywhere is as if absent."""
    plan = world.plan(world.expert("tuned"), method="linear")
    merge = FileMerge(plan, world.base, world.locate, 40_000)
    export_denoiser(merge, tmp_path / "x.safetensors", {})
    base = load_file(world.base.files["unet"][0])
    for key, tensor in load_file(tmp_path / "x.safetensors").items():
        assert torch.equal(tensor, base[key]) is ("mid_block" not in key)


# -- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [export_lora, export_denoiser, export_pipeline])
def test_whatever_is_wrong_leaves_no_file(world, tmp_path, write):
    world.write("nan", {key: tensor * float("nan") for key, tensor in world.tensors("ink").items()})
    silent = {key: tensor * ("lora_A" in key) for key, tensor in world.tensors("ink").items()}
    world.write("silent", silent)
    world.add("copy", world.paths["ink"])
    folder = tmp_path / "target"
    folder.mkdir()
    owl, ink = world.expert("owl"), world.expert("ink")
    for plan, error, message in [
        (world.plan(owl, world.expert("nan")), ExpertError, "NaN"),
        (world.plan(owl, world.expert("silent")), PlanError, "expert silent changes nothing"),
        (world.plan(ink, world.expert("copy")), PlanError, "the same file"),
        (world.plan(world.expert("owl", 1e40), world.expert("ink", 1e40)), PlanError, "lower the weights"),
        (world.plan(owl, schedule=Switch()), PlanError, "take the schedule out"),
        (world.plan(world.expert("owl", 0.0)), PlanError, "nothing to merge"),
        (world.plan(owl, method="tis"), PlanError, "did you mean ties"),
        (world.plan(world.expert("owl", blocks={"nowhere": 1.0})), PlanError, "matches no module"),
        (world.plan(world.expert("owl", components={"text_encoder_9": 1.0})), PlanError, "component pattern"),
    ]:
        with pytest.raises(error, match=message):
            write(FileMerge(plan, world.base, world.locate), folder / "x.safetensors", {})
        assert left_behind(folder) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from diffgraph.files import atomic, tensor_io
from diffgraph.bases.index import BaseIndex
from diffgraph.merging.export.export import export_denoiser
from diffgraph.merging.plan.merge_plan import MergePlan
from diffgraph.merging.engine.stream import FileMerge

plan, base, expert, out, when = sys.argv[1:]
def die(*args): os.kill(os.getpid(), signal.SIGKILL)
if when == "writing":
    write, count = tensor_io.RowWriter.write, iter(range(100))
    tensor_io.RowWriter.write = lambda self, tensor: die() if next(count) == 20 else write(self, tensor)
else:
    atomic._sync_folder = die  # the rename is done
merge = FileMerge(MergePlan.load(Path(plan)), BaseIndex.open(base), lambda spec: Path(expert))
export_denoiser(merge, Path(out), {})
"""


@pytest.mark.parametrize("when", ["writing", "renamed"])
def test_killed_while_writing_there_is_no_file_or_the_whole_file(world, tmp_path, when):
    folder, plan = tmp_path / "target", world.plan(world.expert("owl"))
    folder.mkdir()
    plan.save(tmp_path / "plan.json")
    arguments = [tmp_path / "plan.json", world.base_dir, world.paths["owl"], folder / "x.safetensors", when]
    done = subprocess.run([sys.executable, "-c", KILLED, *map(str, arguments)], check=False, capture_output=True)
    assert done.returncode == -9, done.stderr
    if when == "writing":
        assert [Path(name).suffix for name in left_behind(folder)] == [".tmp"]
    else:
        export_denoiser(FileMerge(plan, world.base, world.locate), tmp_path / "y.safetensors", {})
        assert (folder / "x.safetensors").read_bytes() == (tmp_path / "y.safetensors").read_bytes()


def test_ctrl_c_while_writing_leaves_the_old_output(world, tmp_path, monkeypatch):
    merge = FileMerge(world.plan(world.expert("owl")), world.base, world.locate)
    export_pipeline(merge, tmp_path / "out", {})
    old = (tmp_path / "out" / "README.md").read_bytes()
    calls = iter(range(1000))
    write = RowWriter.write

    def stop(self, tensor):
        if next(calls) == 30:
            raise KeyboardInterrupt
        write(self, tensor)

    monkeypatch.setattr(RowWriter, "write", stop)
    before = left_behind(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        export_pipeline(merge, tmp_path / "out", {"": "mit"})
    assert left_behind(tmp_path) == before
    assert (tmp_path / "out" / "README.md").read_bytes() == old
    monkeypatch.undo()
    export_pipeline(merge, tmp_path / "out", {"": "mit"})
    assert left_behind(tmp_path) == before
    assert (tmp_path / "out" / "README.md").read_bytes() != old


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_a_sentence(world, tmp_path, monkeypatch):
    """The kernel's own ENOSPC: the temporary file is /dev/full."""
    (tmp_path / "target").mkdir()

    def full(prefix, suffix, dir):
        name = str(Path(dir) / f"{prefix}{suffix}")
        os.symlink("/dev/full", name)
        return os.open(name, os.O_RDWR), name

    monkeypatch.setattr(tempfile, "mkstemp", full)
    merge = FileMerge(world.plan(world.expert("owl")), world.base, world.locate)
    with pytest.raises(UserError, match="No space left on device"):
        export_denoiser(merge, tmp_path / "target" / "x.safetensors", {})
    assert left_behind(tmp_path / "target") == []


def test_too_small_a_disk_is_told_before_anything_is_written(world, tmp_path, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda path: usage(10, 9, 1))
    merge = FileMerge(world.plan(world.expert("owl")), world.base, world.locate)
    for write in (export_lora, export_denoiser, export_pipeline):
        with pytest.raises(UserError, match="are free there"):
            write(merge, tmp_path / "x.safetensors", {})


READ_ONLY = """
import os, sys
from pathlib import Path
from diffgraph.errors import UserError
from diffgraph.files.atomic import new_file, new_folder
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)  # root may write anywhere
for make in (new_file, new_folder):
    try:
        with make(Path(sys.argv[1]) / "x"):
            pass
    except UserError as error:
        print(error)
"""


def test_a_read_only_folder_is_a_sentence():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        done = subprocess.run([sys.executable, "-c", READ_ONLY, folder], capture_output=True, text=True, check=True)
        os.chmod(folder, 0o755)
    assert done.stdout.splitlines() == [f"cannot write {folder}/x: {os.strerror(errno.EACCES)}"] * 2


def test_what_is_there_is_not_replaced_unasked(world, tmp_path):
    path = tmp_path / "x.safetensors"
    refuse_existing(path, False)
    path.with_suffix(".md").write_text("mine")
    with pytest.raises(UserError, match=r"x\.md is there already"):
        refuse_existing(path, False)
    refuse_existing(path, True)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("x")
    with pytest.raises(UserError, match="is not replaced"):
        refuse_existing(tmp_path / "photos", True)
    with pytest.raises(UserError, match="No such file"):
        export_lora(FileMerge(world.plan(world.expert("owl")), world.base, world.locate), tmp_path / "no" / "x", {})


# -- amounts ---------------------------------------------------------------------------------------------------------


def test_amounts_of_memory_are_read_or_refused():
    amounts = {"1GB": 10**9, "1.5 GiB": 3 * 2**29, "800mb": 8 * 10**8, "2e9": 2 * 10**9, "7": 7}
    assert {text: parse_bytes(text) for text in amounts} == amounts
    for text in ("", "GB", "-1GB", "1PB", "0", "one"):
        with pytest.raises(UserError, match="no amount of memory"):
            parse_bytes(text)
    assert resident_bytes() > 10**7
    assert 0 < left_of(10**12) < 10**12
    with pytest.raises(DiffGraphError, match="give more"):
        left_of(1000)


def test_the_recipe_in_the_file_is_the_plan(world, tmp_path):
    plan = world.plan(world.expert("owl", 0.5))
    for name in "ab":
        merge = FileMerge(plan, world.base, world.locate)
        export_denoiser(merge, tmp_path / f"{name}.safetensors", {"": "mit", "owl": "cc-by-nc-4.0"})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        recipe = json.loads(file.metadata()["diffgraph"])
    assert type(plan).model_validate(recipe["plan"]).plan_id == plan.plan_id == recipe["plan_id"]
    assert recipe["parents"] == {"tiny": plan.base.sha256, "owl": plan.experts[0].sha256}
    assert recipe["licence"] == "cc-by-nc-4.0"
