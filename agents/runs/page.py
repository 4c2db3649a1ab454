"""The page of a run: one self-contained HTML file, made from what lies in the run folder and the graph."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from ...cleaning import clean
from ...errors import UserError
from ...files.atomic import write_bytes
from ...graph.reading.request import Orders
from ...graph.reading.said_orders import in_words
from ...merging.plan.merge_plan import MergePlan
from ...tools.context import Context
from ...tools.results import ScoredImage
from ..state import AnswerImage, AnswerScores, State
from . import folder
from .atoms import SURE, Atom, atoms, critics_of, facets_of, summary

COLOURS = {
    "subject": "--c1",
    "style": "--c2",
    "background": "--c3",
    "action": "--c4",
    "lighting": "--c5",
    "quality": "--c6",
}
SHOWN_PIXELS = 256


@dataclass(frozen=True)
class Picture:
    """An image for the page: a data URI and the size at which it is shown (a whole multiple of its own if it is
    small); what a critic says of it, and who that was, "" where it is not known or nobody.
    """

    uri: str
    width: int
    height: int
    crisp: bool
    label: str
    score: float | None
    atoms: tuple[Atom, ...]
    summary: str
    findings: tuple[str, ...]
    by: str
    alt: str


@dataclass(frozen=True)
class Box:
    """A box of the drawing: left edge, middle, width; two lines of text, and what a pointer over it reads."""

    x: float
    y: float
    w: float
    text: str
    under: str
    full: str
    colour: str


@dataclass(frozen=True)
class Curve:
    """A curve of the drawing: its path, and a label at a point beside it."""

    d: str
    colour: str
    width: float
    label: str
    x: float
    y: float


@dataclass(frozen=True)
class Drawing:
    """Boxes and curves, in the units of the SVG's view box, which is 720 wide."""

    height: int
    boxes: tuple[Box, ...]
    curves: tuple[Curve, ...]


def write(ctx: Context, state: State) -> Path | None:
    """Write ``index.html`` of the state's run folder; None if it has none."""
    if not state.run_dir:
        return None
    path = Path(state.run_dir) / folder.PAGE
    write_bytes(path, render(ctx, state).encode())
    return path


def render(ctx: Context, state: State) -> str:
    """The page's HTML. Every text in it is escaped; cards and prompts are written by strangers."""
    run_dir = Path(state.run_dir)
    plan = ctx.load_plan(state.plan_id) if state.plan_id else None
    trace = folder.read_trace(run_dir / folder.TRACE)
    answers = state.scores.images if isinstance(state.scores, AnswerScores) else ()
    several = len({image.round for image in answers}) > 1
    facets = facets_of(state.activation)
    pictures = [
        _picture(run_dir / name, f"seed {image.seed}" + (f", round {image.round}" if several else ""), image, facets)
        for name, image in zip(state.images, answers, strict=False)
    ] or [_picture(run_dir / name, _of_seed(name), None, facets) for name in state.images]
    others = [
        _picture(run_dir / c.file, _label(c.label), c.images[0] if c.images else None, facets) for c in state.comparison
    ]
    titles = {e.id: e.title for e in ctx.store.experts(plan.base.family)} if plan else {}
    return _template().render(
        prompt=state.prompt,
        status=state.status or "running",
        message=state.message,
        uncovered=state.uncovered,
        left_to_base=state.activation.left_to_base if state.activation else (),
        notes=state.notes,
        facets=state.activation.facets if state.activation else (),
        read=state.activation.read if state.activation else state.prompt,
        rejected=state.activation.rejected if state.activation else (),
        plan=plan,
        plan_id=plan.plan_id if plan else "",
        merged={e.id for e in plan.experts} if plan else (),
        orders=in_words(_in_force(state)),
        unmet=state.activation.unmet if state.activation else (),
        titles=titles,
        pictures=[p for p in pictures if p],
        others=[p for p in others if p],
        judges=critics_of(answers),
        judged=bool(answers),
        half=SURE,
        graph=subgraph(state, plan, titles) if plan else None,
        unsaid=state.rounds[state.best].unsaid if state.rounds else "",
        rounds=state.rounds,
        several=several,
        leading=state.best + 1,
        taken=[image.round for image in answers],
        accept=ctx.settings.accept,
        sure=ctx.settings.sure,
        brain=ctx.settings.brain,
        timings=folder.timings(trace),
        trace=trace,
        colours=COLOURS,
    )


def _in_force(state: State) -> Orders:
    return state.activation.orders if state.activation else state.orders


def _shown(value: object) -> object:
    """What a place in the page is given: a plain text without controls; it is escaped after this."""
    return clean(value, None) if type(value) is str else value


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader(__package__ or "", "."),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")


def _label(label: str) -> str:
    return label if label == "base alone" else f"{label.rsplit('/', 1)[-1]} alone"


def _of_seed(name: str) -> str:
    """What an image is called whose seed only its file's name tells."""
    return Path(name).stem.replace("image_", "seed ")


def _picture(
    path: Path, label: str, scored: AnswerImage | ScoredImage | None, facets: dict[str, str]
) -> Picture | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    width, height = png_size(path, data)
    times = max(1, SHOWN_PIXELS // max(width, height))
    said = atoms(scored, facets)
    return Picture(
        uri="data:image/png;base64," + base64.b64encode(data).decode("ascii"),
        width=width * times,
        height=height * times,
        crisp=times > 1,
        label=label,
        score=scored.score if scored else None,
        atoms=said,
        summary=summary(said) or "not judged",
        # A critic that says what it sees instead has its findings in the rows.
        findings=scored.findings if scored and not scored.seen else (),
        by=scored.by if scored else "",
        alt=_alt(label, said),
    )


def _alt(label: str, said: tuple[Atom, ...]) -> str:
    """What a reader who does not see the image is told of it."""
    missing = [atom.text for atom in said if atom.shown is False]
    there = [atom.text for atom in said if atom.shown]
    parts = [f"shows {', '.join(there)}" if there else "", f"misses {', '.join(missing)}" if missing else ""]
    return f"{label}: " + (", ".join(p for p in parts if p) or "nobody has judged it")


def png_size(path: Path, data: bytes) -> tuple[int, int]:
    """Width and height from a PNG's header. Raises UserError if it is none."""
    if len(data) < 24 or data[:8] != b"\x89PNG\r\n\x1a\n":
        raise UserError(f"{path} is no PNG.")
    width, height = struct.unpack(">II", data[16:24])
    return int(width), int(height)


def subgraph(state: State, plan: MergePlan, titles: dict[str, str]) -> Drawing:
    """The activated part of the graph: prompt -> facets -> who draws them -> the merged model, in rows 58 high."""
    facets = state.activation.facets if state.activation else ()
    weights = {e.id: e.weight for e in plan.experts}
    drawers = list(
        dict.fromkeys([f.by for f in facets if f.by and (f.by == "base" or f.by in weights)] + sorted(weights))
    )
    rows = max(len(facets), len(drawers), 1)
    height = rows * 58 + 10

    def column(n: int, x: float) -> list[tuple[float, float]]:
        return [(x, 10 + (rows - n) * 29 + i * 58 + 24) for i in range(n)]

    boxes: list[Box] = []
    curves: list[Curve] = []
    middle = height / 2
    boxes.append(_box(8, middle, 96, "prompt", "", "--ink"))
    at_facets = column(len(facets), 150)
    at_drawers = column(len(drawers), 372)
    for facet, (x, y) in zip(facets, at_facets, strict=True):
        colour = COLOURS.get(facet.facet, "--ink")
        boxes.append(_box(x, y, 176, facet.trigger, facet.facet, colour))
        curves.append(_curve(104, middle, x, y, colour, 1.6, ""))
        if facet.by in drawers:
            to = at_drawers[drawers.index(facet.by)]
            curves.append(_curve(x + 176, y, *to, colour, 1.6, f"{facet.score:.2f}"))
    for drawer, (x, y) in zip(drawers, at_drawers, strict=True):
        facet_of = next((f.facet for f in facets if f.by == drawer), "")
        colour = "--muted" if drawer == "base" else COLOURS.get(facet_of, "--ink")
        title = plan.base.ref if drawer == "base" else titles.get(drawer, drawer)
        under = "base" if drawer == "base" else drawer
        boxes.append(_box(x, y, 200, title, under, colour))
        weight = weights.get(drawer)
        width = 1.6 if weight is None else 1.0 + 2.6 * min(1.6, abs(weight))
        curves.append(_curve(x + 200, y, 630, middle, colour, width, "" if weight is None else f"× {weight:.2f}"))
    boxes.append(
        _box(630, middle, 82, plan.method.name if weights else "base", "merge" if weights else "no merge", "--ink")
    )
    return Drawing(height, tuple(boxes), tuple(curves))


def _box(x: float, y: float, width: float, text: str, under: str, colour: str) -> Box:
    room = int(width / 7.2)
    return Box(
        x=x,
        y=y,
        w=width,
        text=text if len(text) <= room else text[: room - 1] + "…",
        under=under if len(under) <= room + 4 else "…" + under[-(room + 3) :],
        full=f"{text} ({under})" if under else text,
        colour=colour,
    )


def _curve(x1: float, y1: float, x2: float, y2: float, colour: str, width: float, label: str) -> Curve:
    bend = (x2 - x1) / 2
    return Curve(
        d=f"M{x1:g} {y1:g} C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}",
        colour=colour,
        width=round(width, 2),
        label=label,
        # Where the curve is still level, on the side that it turns away from.
        x=x1 + 23,
        y=y1 + 15 if y2 < y1 - 1 else y1 - 7,
    )
