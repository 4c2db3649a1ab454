"""``eval`` and ``bench``: numbers for suites of prompts, and for the time that each stage takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..console import out, say, write_json
from ..options import Json

POSITION = 70
app = typer.Typer()


@app.command("eval")
def evaluate(
    suite: Annotated[
        str | None, typer.Argument(help="a suite that ships, or a YAML file; none: list them", show_default=False)
    ] = None,
    arms: Annotated[str, typer.Option(help="only these arms, separated by commas")] = "",
    seeds: Annotated[int | None, typer.Option(min=1, help="so many seeds; default: the suite's")] = None,
    limit: Annotated[int | None, typer.Option(help="at most so many prompts of each group")] = None,
    out_: Annotated[
        Path | None, typer.Option("--out", help="where evaluations lie; default: evals in the home")
    ] = None,
    joint: Annotated[
        Path | None, typer.Option(help="a LoRA trained jointly on the true combinations; default: the base's")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="a folder of experts.jsonl and recipes*.jsonl, for the suite wild")
    ] = None,
    critics: Annotated[
        str, typer.Option(help="for the suite eyes: the critics to measure, as in DIFFGRAPH_CRITIC, commas between")
    ] = "",
    images: Annotated[
        Path | None, typer.Option(help="for the suite eyes: a folder of images with their list, drawn before")
    ] = None,
    metrics: Annotated[
        str, typer.Option(help="measure every image by these too, NAME or NAME:ARGUMENT, commas between")
    ] = "",
    json_: Json = False,
) -> None:
    """Run an eval suite, or go on with one: log, tables, page with images. Controls run beside ours.

    Examples:

      diffgraph eval compose

      diffgraph eval compose --arms ours,base --seeds 1 --limit 4

      diffgraph eval wild --data ~/recipes

      diffgraph eval eyes --critics world,vlm:openai:MODEL
    """
    from ...evals.runner import run_suite
    from ...evals.suites.suite import names
    from ...settings import Settings
    from ..progress import Progress

    if suite is None:
        write_json({"suites": names()}) if json_ else out.lines("\n".join(names()))
        return
    with Progress() as progress:
        done = run_suite(
            suite,
            settings=Settings.load(),
            out=out_,
            arms=_listed(arms),
            seeds=range(seeds) if seeds else None,
            limit=limit,
            joint=joint,
            data=data,
            critics=_listed(critics),
            images=images,
            metrics=_listed(metrics),
            on_progress=progress.count,
        )
    if json_:
        files = {"folder": str(done.folder), "log": str(done.log), "page": str(done.html)}
        details = {"details": done.details} if done.details else {}
        write_json({"suite": done.name, **files, **details, "summary": done.summary})
        return
    out.lines(done.markdown.read_text(encoding="utf-8"))
    out.line_of(f"page {done.html}")


def _listed(said: str) -> list[str] | None:
    """What stands between commas; None for nothing."""
    return [one.strip() for one in said.split(",") if one.strip()] or None


@app.command()
def bench(
    what: Annotated[Literal["all", "merge", "span", "stages"], typer.Argument(help="what to time")] = "all",
    repeats: Annotated[int, typer.Option(min=1, max=100, help="how often each stage is timed")] = 5,
    small: Annotated[bool, typer.Option("--small", help="merge tiny weights, not SDXL's: a check, seconds")] = False,
    engine: Annotated[
        list[str] | None, typer.Option(help="only this merge engine (repeatable); an unknown name lists them")
    ] = None,
    known: Annotated[
        list[int] | None, typer.Option(min=4, help="how many experts are known (repeatable); default: 4, 16, 64")
    ] = None,
    device: Annotated[str, typer.Option(help="where the engines merge: cpu, cuda, cuda:1")] = "cpu",
    json_: Json = False,
) -> None:
    """Time the stages of a request, merging at SDXL's shapes beside other engines, and methods that need SVDs.

    Examples:  diffgraph bench stages --repeats 10 --json  |  diffgraph bench merge --engine diffgraph --device cuda

    "all" is stages, merging and span: 9 GB of disk, half an hour. Merging is also timed as the floor of this machine;
    "span" times the methods that need singular vectors beside the full-size SVD.
    """
    from ...settings import Settings
    from .. import tables
    from ..progress import working

    settings = Settings.load()
    found: dict[str, object] = {}
    if what in ("all", "stages"):
        from ...evals.bench.stages import measure as time_stages

        with working("Timing every stage"):
            found["stages"] = time_stages(settings, repeats)
    scale = "pico" if small else "sdxl"
    if what in ("all", "merge"):
        from ...evals.bench.merge_bench import KNOWN
        from ...evals.bench.merge_bench import measure as time_merges

        result = settings.root / "bench" / "merge.json"
        found["merge"] = time_merges(
            result, scale=scale, engines=engine or (), known=known or KNOWN, device=device, say=say
        )
    if what in ("all", "span"):
        from ...evals.bench.span_bench import measure as time_spans

        found["span"] = time_spans(settings.root / "bench" / "span.json", scale=scale, say=say)
    write_json(found) if json_ else tables.timings(found)
