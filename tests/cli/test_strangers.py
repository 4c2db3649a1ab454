"""A graph, folders, plans, images and servers whose every word carries escape codes, and every command run on them, in
a pseudo-terminal and through pipes: none of the codes comes out, and JSON stays JSON.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pty
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from diffgraph.agents.scout import scout
from diffgraph.graph.calibration.record import Calibration
from diffgraph.graph.experts.expert import Expert, Skill
from diffgraph.graph.relations.relation import Relation
from diffgraph.merging.plan.merge_plan import MergePlan, Method, PlanBase, PlanExpert, Sampler
from diffgraph.merging.sampling.png_record import save_png
from diffgraph.settings import Settings
from diffgraph.tools.context import Context

CODES = (
    "\x1b[38;5;201m"  # a colour
    "\x1b]8;;http:evil\x1b\\l\x1b]8;;\x1b\\"  # a link
    "\x1b]52;c;ZXZpbA==\x07"  # the clipboard
    "\x1b]0;PWNED\x07"  # the title
    "\x1b[201z\x1b_PWNED\x1b\\\x9b201z\x9d0;PWNED\x9c"  # private sequences, and C1
    "\u202everkehrt\u2066\u200b\u2060\U000e0041"  # direction, no width, tags
    "\rFORGED\x08\x7f"  # back to the start of the line
    "[red]m[link=http:evil]k"  # rich's own markup
)
FORGED_LINE = "\nok   FORGED"
EVIL = f"{CODES}{FORGED_LINE}"
FOREIGN = re.compile(
    "\x1b\\[38;5;201m|\x1b\\]|\x1b_|PWNED\x07|\x1b\\[201z|[\x80-\x9f\u202e\u2066\u200b\u2060\U000e0041\x7f\x07]|\rFORGED"
)
UNFIT = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2066\u200b\u2060\U000e0041]")
NOT_KEPT = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "NO_COLOR", "COLUMNS")

DRIVER = """
import json, sys
from diffgraph.cli.main import main
for words in json.load(open(sys.argv[1])):
    sys.argv = ["diffgraph", *words]
    code = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code or 0
    except Exception as error:
        sys.excepthook(type(error), error, error.__traceback__)
        code = "bug"
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        stream.write(f"=== {code}\\n")
        stream.flush()
"""


def tiny_world() -> ModuleType:
    name = "diffgraph_tests_tiny_world"
    if name not in sys.modules:
        path = Path(__file__).parents[1] / "agents" / "tiny_world.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def evil(text: str) -> str:
    return f"{text}{EVIL}"


class Rude(BaseHTTPRequestHandler):
    """A hub and a brain's server; whatever is asked, codes come back."""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, said = 400, {"error": {"message": EVIL, "code": EVIL, "type": EVIL}}
        if self.path.startswith("/api/models?"):
            status, said = 200, [{"id": f"someone/{EVIL}"}, {"id": "someone/lora"}]
        elif self.path.startswith("/api/models/"):
            status, said = 404, {"error": EVIL}
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("X-Error-Message", CODES.split("\r")[0].encode("ascii", "ignore").decode())
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_HEAD = answer

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def rude_port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Rude) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a world, a home whose graph is full of codes, a folder of experts, plans and an image."""
    root = tmp_path_factory.mktemp("strangers")
    world = tiny_world().make_world(root / "world")
    home = root / "home"
    with Context.open(Settings(base=f"world:{world}", home=home)) as ctx:
        registered, _ = scout(ctx)
        spoil(ctx, registered)
        base, sea = ctx.machinery.base, ctx.store.expert(evil("world/sea-life"))
    folder = root / "loras"
    for name in ("whale", f"squid{EVIL}"):
        tiny_world().lora(folder / name, 7, evil("Squid"), f"- {evil('squid')} (also: {evil('ink')})\n")
    (folder / evil("pickled")).mkdir()
    (folder / evil("pickled") / evil("a.ckpt")).write_bytes(b"")
    cut = folder / "cut" / f"a{CODES}.safetensors"
    cut.parent.mkdir()
    cut.write_bytes(b"\xff" * 40)
    plans(root, base, sea)
    return root


def spoil(ctx: Context, registered: list[Expert]) -> None:
    """Put experts with codes in every field beside those that the scout found, measured and related."""
    for expert in registered:
        if expert.kind == "base":
            continue
        skills = tuple(
            Skill(facet=s.facet, name=evil(s.name), trigger=evil(s.trigger), aliases=(s.name, evil("alias")))
            for s in expert.skills
        )
        bad = {
            "id": evil(expert.id),
            "title": EVIL,
            "licence": EVIL,
            "tags": (EVIL,),
            "skills": skills,
            "created": EVIL,
        }
        made = expert.model_copy(update=bad)
        foreign = expert.model_copy(update={"id": evil("odd/family"), "base_family": evil("f"), "title": EVIL})
        ctx.store.add_experts([made, foreign])
        for known in (made, expert):
            facts = {"plan_context_hash": EVIL, "gain": {EVIL: 0.5, "subject": 0.5}, "best_weight": 0.9}
            seen = {"expert_id": known.id, "expert_sha256": known.sha256, "verdict": "works", "unasked": {EVIL: 0.5}}
            ctx.store.put_calibration(Calibration.model_validate(facts | seen))
        ctx.store.put_relation(Relation(a=made.id, b=expert.id, kind="duplicate", value=0.9, note=EVIL))


def plans(root: Path, base: PlanBase, sea: Expert) -> None:
    spec = PlanExpert(id=evil("sea"), ref=str(sea.ref), sha256=sea.sha256, facet=EVIL, trigger=EVIL)
    lost = PlanExpert(id=EVIL, ref=EVIL, sha256="0" * 64, blocks={EVIL: 0.5})
    wording = {"prompt": EVIL, "negative_prompt": EVIL, "sampler": Sampler(steps=2), "seeds": (3,)}
    good = MergePlan(base=base, experts=(spec,), **wording)
    good.save(root / "good.json")
    elsewhere = base.model_copy(update={"ref": EVIL, "family": EVIL})
    bad = MergePlan(base=elsewhere, experts=(spec, lost), method=Method(name=EVIL, params={EVIL: EVIL}), **wording)
    bad.save(root / "bad.json")
    other_base = good.model_copy(update={"base": elsewhere.model_copy(update={"sha256": "1" * 64})})
    other_base.save(root / "other.json")
    (root / "broken.json").write_text(json.dumps({EVIL: EVIL, "prompt": 3}))
    image = Image.new("RGB", (16, 16))
    save_png(image, root / "good.png", good, 3, {"device": EVIL, "dtype": EVIL, "batch": 1, EVIL: EVIL})
    save_png(image, root / "other.png", other_base, 3)
    (root / "plain.png").write_bytes(b"no image")
    (root / f"suite{CODES}.yaml").write_text(json.dumps({EVIL: EVIL, "name": EVIL}))


def light_commands(root: Path) -> list[list[str]]:
    """Every command that answers, or fails, without a model."""
    sea, loras, good = evil("world/sea-life"), str(root / "loras"), str(root / "good.json")
    plain = [
        ["experts"],
        ["experts", "--family", EVIL],
        ["expert", sea],
        ["expert", evil("odd/family")],
        ["expert", EVIL],
        ["scout", str(root / EVIL)],
        ["scout", "huggingface"],
        ["scout", f"huggingface:someone/{EVIL}"],
        ["scout", f"folder:{EVIL}"],
        ["calibrate", EVIL],
        ["plan", "--check", good],
        ["plan", "--check", str(root / "bad.json"), "--experts", loras],
        ["plan", "--check", str(root / "broken.json")],
        ["plan", "--check", good, "--base", EVIL],
        ["plan", "--check", good, "--experts", EVIL],
        ["plan", "--diff", good, str(root / "bad.json")],
        ["plan", "octopus", "--method", EVIL],
        ["merge", str(root / "bad.json"), "-o", str(root / "bad.safetensors")],
        ["merge", good, "-o", EVIL, "--stream-budget", EVIL],
        ["replay", str(root / "other.png")],
        ["replay", str(root / "plain.png")],
        ["recipe", str(root / "good.png"), "--experts", loras],
        ["recipe", str(root / "plain.png")],
        ["resume", str(root / EVIL)],
        ["doctor"],
    ]
    usage = [
        ["eval", str(root / f"suite{CODES}.yaml")],
        ["eval", EVIL],
        ["bench", "merge", "--small", "--engine", EVIL],
        [EVIL],
        ["experts", EVIL],
        ["experts", f"--{EVIL}"],
        ["generate", "octopus", "-n", EVIL],
    ]
    return usage + plain + [[*words, "--json"] for words in plain]


def heavy_commands(root: Path) -> list[list[str]]:
    """Those that load models: they scout, plan, calibrate, merge, draw."""
    merged = str(root / f"merged{CODES}.safetensors")
    plain = [
        ["scout", str(root / "loras")],
        ["calibrate", evil("world/sea-life")],
        ["plan", f"octopus, blueprint style, {EVIL}"],
        ["merge", str(root / "good.json"), "-o", merged, "--force"],
        ["replay", str(root / "good.png")],
        ["generate", f"octopus, blueprint style, {EVIL}", "--no-compare"],
        ["generate", EVIL],
    ]
    return plain + [[*words, "--json"] for words in plain]


@pytest.fixture
def environment(place: Path, rude_port: int) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in NOT_KEPT}
    return kept | {
        "DIFFGRAPH_HOME": str(place / "home"),
        "DIFFGRAPH_BASE": f"world:{place / 'world'}",
        "DIFFGRAPH_STEPS": "2",
        "DIFFGRAPH_DEVICE": "cpu",
        f"DIFFGRAPH_{CODES.replace(chr(61), '')}": "1",
        "HF_ENDPOINT": f"http://127.0.0.1:{rude_port}",
        "OPENAI_API_KEY": "none",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{rude_port}",
        "TERM": "xterm-256color",
    }


def started(place: Path, asked: list[list[str]]) -> list[str]:
    (place / "asked.json").write_text(json.dumps(asked))
    return [sys.executable, "-c", DRIVER, str(place / "asked.json")]


def in_a_terminal(command: list[str], environment: dict[str, str], typed: bytes = b"") -> str:
    """What a terminal of 100 columns is sent, both streams together."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment | {"COLUMNS": "100"}, close_fds=True
    ) as child:
        os.close(theirs)
        got = b""
        ends = time.monotonic() + 240
        while time.monotonic() < ends:
            if select.select([ours], [], [], 0.2)[0]:
                try:
                    piece = os.read(ours, 65536)
                except OSError:  # the child has closed its end
                    break
                if not piece:
                    break
                got += piece
                if typed and "\u203a".encode() in got:
                    os.write(ours, typed)
                    typed = b""
        else:
            child.kill()
            pytest.fail(f"never ended: {got[-2000:]!r}")
    os.close(ours)
    return got.decode()


def check_terminal(place: Path, asked: list[list[str]], environment: dict[str, str]) -> None:
    """Run the commands in a terminal: they all end by themselves, and nothing foreign is sent."""
    shown = in_a_terminal(started(place, asked), environment)
    exits = re.findall(r"^=== (\S+)$", shown.replace("\r", ""), re.M)[::2]
    assert len(exits) == len(asked), shown[-3000:]
    assert "bug" not in exits, [words for words, code in zip(asked, exits, strict=True) if code == "bug"]
    assert not (found := FOREIGN.search(shown)), ascii(shown[max(0, found.start() - 300) : found.end() + 100])


def check_pipes(place: Path, asked: list[list[str]], environment: dict[str, str]) -> dict[str, str]:
    """Run the commands with pipes: no control but the line break, JSON can be read. Returns the documents."""
    done = subprocess.run(
        started(place, asked), capture_output=True, text=True, env=environment, timeout=240, check=False
    )
    for stream in (done.stdout, done.stderr):
        assert not (found := UNFIT.search(stream)), ascii(stream[max(0, found.start() - 300) : found.end() + 100])
    results = re.split(r"^=== \S+\n", done.stdout, flags=re.M)[:-1]
    assert len(results) == len(asked), done.stderr[-3000:]
    found_in = {str(words[:-1]): text for words, text in zip(asked, results, strict=True) if words[-1] == "--json"}
    for text in found_in.values():
        assert not text or json.loads(text)
    return {words: text for words, text in found_in.items() if text}


def test_no_code_reaches_a_terminal(place: Path, environment: dict[str, str]) -> None:
    check_terminal(place, light_commands(place), environment)


def test_no_code_goes_through_a_pipe(place: Path, environment: dict[str, str]) -> None:
    documents = check_pipes(place, light_commands(place), environment)
    assert len(documents) >= 8
    listed = json.loads(documents[str(["experts"])])["experts"]
    assert evil("world/sea-life") in {expert["id"] for expert in listed}, "JSON loses nothing"


def test_no_code_reaches_the_chat(place: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "diffgraph.cli", "chat"]
    shown = in_a_terminal(command, environment, typed=b"/experts\r/expert world/sea-live\r/quit\r")
    assert "FORGED" in shown
    assert not (found := FOREIGN.search(shown)), ascii(shown[max(0, found.start() - 300) : found.end() + 100])


@pytest.mark.slow
def test_no_code_comes_out_while_models_work(place: Path, environment: dict[str, str]) -> None:
    check_terminal(place, heavy_commands(place), environment)
    assert len(check_pipes(place, heavy_commands(place), environment)) >= 6
    brain = environment | {"DIFFGRAPH_BRAIN": f"openai:{CODES}"}
    check_terminal(place, [["doctor"], ["generate", "octopus"], ["generate", "octopus", "--json"]], brain)
    for page in (place / "home" / "runs").glob("*/index.html"):
        assert not UNFIT.search(page.read_text(encoding="utf-8"))
