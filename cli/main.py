"""The ``diffgraph`` command. Commands stay thin: they read options, call the rooms below and print.

Libraries that load models are imported inside the commands that need them, so ``--help`` answers at once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from .. import __version__
from ..errors import UserError
from ..settings import Settings
from . import plans
from .console import FAILED, INTERRUPTED, Commands, Progress, out, say, working, write_json

app = typer.Typer(
    cls=Commands,
    name="diffgraph",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Agents that find, calibrate, merge and judge community text-to-image experts, prompt by prompt.\n\n"
    'Start with:  diffgraph generate "soccer ball, blueprint style, starry night background"\n\n'
    "Settings come from DIFFGRAPH_… variables and .env; diffgraph doctor prints them.",
)

Prompt = Annotated[str, typer.Argument(help="what to draw, in plain words", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document on stdout and nothing else")]
Count = Annotated[int, typer.Option("-n", "--n", help="how many images")]
Seed = Annotated[int, typer.Option(help="the first image's seed; the others follow it")]
MethodName = Annotated[str | None, typer.Option("--method", help="merge method, e.g. linear, ties, np_lora")]


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"diffgraph {__version__}")
        raise typer.Exit()


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version and leave")
    ] = False,
) -> None:
    # Libraries that are imported later read these: nobody is phoned, and their remarks stay out of our lines.
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    os.environ.setdefault("ANONYMIZED_TELEMETRY", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


@app.command()
def generate(
    prompt: Prompt,
    n: Count = 1,
    seed: Seed = 0,
    out_: Annotated[
        Path | None,
        typer.Option("--out", help="run folder (new, empty, or an earlier run); default under DIFFGRAPH_HOME"),
    ] = None,
    json_: Json = False,
    method: MethodName = None,
    compare: Annotated[
        bool,
        typer.Option("--compare/--no-compare", help="also draw the base alone and each expert alone, for the page"),
    ] = True,
) -> None:
    """Draw a prompt: choose experts, merge, sample, judge; print where the images and the page are.

    Examples:

      diffgraph generate "soccer ball, blueprint style, starry night background" -n 4

      diffgraph generate "a pizza in pixel art" --seed 7 --json

    Ends with 0 if there are images, 1 if there are none.
    """
    from ..agents.runs.generate import generate as draw
    from . import tables

    settings = plans.settings_with(method)
    with Progress() as progress:
        try:
            result = draw(prompt, n=n, seed=seed, settings=settings, out=out_, on_event=progress, compare=compare)
        except KeyboardInterrupt:
            _stopped(progress)
    write_json(result.to_json()) if json_ else tables.run(result)
    raise typer.Exit(0 if result.images else FAILED)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="the run folder", show_default=False)],
    json_: Json = False,
) -> None:
    """Go on with a run that was interrupted; nothing that was done is done again.

    Example:  diffgraph resume ~/.diffgraph/runs/0007-octopus
    """
    from ..agents.runs.generate import resume as go_on
    from . import tables

    with Progress() as progress:
        try:
            result = go_on(run, settings=Settings.load(), on_event=progress)
        except KeyboardInterrupt:
            _stopped(progress)
    write_json(result.to_json()) if json_ else tables.run(result)
    raise typer.Exit(0 if result.images else FAILED)


def _stopped(progress: Progress) -> None:
    """Say how to go on, and leave."""
    more = f" Go on with: diffgraph resume {progress.folder}" if progress.folder else ""
    say(f"Stopped. What was finished is kept.{more}")
    raise typer.Exit(INTERRUPTED)


for command in plans.COMMANDS:
    app.command()(command)


@app.command()
def chat() -> None:
    """Talk to DiffGraph: type what to draw; /help lists the commands."""
    from ..agents.chat.repl import chat as talk

    talk(Settings.load())


@app.command()
def scout(
    source: Annotated[
        str | None,
        typer.Argument(
            help="a source (world, huggingface), source:repository, or a folder; default: DIFFGRAPH_SOURCES"
        ),
    ] = None,
    query: Annotated[str, typer.Option(help="what to look for, at sources that can search")] = "",
    limit: Annotated[int, typer.Option(min=1, max=200, help="register at most so many new repositories")] = 200,
    json_: Json = False,
) -> None:
    """Find experts at a source and register them: card and file header only, no weights.

    Examples:

      diffgraph scout ~/loras

      diffgraph scout huggingface --query "pixel art" --limit 10

      diffgraph scout huggingface:nerijs/pixel-art-xl
    """
    from ..agents.scout import scout as look
    from ..graph.experts import sources
    from ..graph.experts.registration import register
    from ..tools.context import Context
    from ..tools.register_experts import register_new
    from . import tables

    with Progress() as progress, Context.open(Settings.load(), progress.emit) as ctx:
        name, _, repo = (source or "").partition(":")
        refused: list[dict[str, str]] = []
        if source and Path(source).expanduser().is_dir():
            found, refused = register_new(ctx, sources.get("folder", root=Path(source)), query, limit)
        elif repo:
            found = register(ctx.source(name), repo)
            ctx.store.add_experts(found)
        else:
            found, refused = look(ctx, source, query, limit=limit)
    if json_:
        write_json({"registered": [e.id for e in found], "refused": refused})
        return
    out.print(
        f"{len(found)} new, {len(refused)} refused. {'diffgraph calibrate --all measures them.' if found else ''}"
    )
    if found:
        out.print(tables.experts(found, {}))


@app.command()
def calibrate(
    expert_id: Annotated[str | None, typer.Argument(help="an expert's id; or say --all", show_default=False)] = None,
    all_: Annotated[bool, typer.Option("--all", help="every expert of the base that was not measured yet")] = False,
    json_: Json = False,
) -> None:
    """Measure what experts really do: they draw reference prompts, the critic scores them. It goes on where it stopped.

    Examples:  diffgraph calibrate world/sea-life   |   diffgraph calibrate --all
    """
    from ..agents.calibrator import calibrate as measure
    from ..tools.context import Context

    if (expert_id is None) is not all_:
        raise UserError("Name one expert (`diffgraph experts` lists them), or say --all.")
    with Progress() as progress, Context.open(Settings.load(), progress.emit) as ctx:
        ids = [ctx.store.expert(expert_id).id] if expert_id else None
        done = list(measure(ctx, ids))
    failed = [one for one in done if "failed" in one]
    if json_:
        write_json({"calibrated": done})
    else:
        for one in done:
            text = one.get("failed") or f"{one['verdict']}, best weight {one['best_weight']:.2f}"
            out.print(f"{one['expert']}: {text}", markup=False, soft_wrap=True)
    raise typer.Exit(FAILED if failed and len(failed) == len(done) else 0)


@app.command()
def experts(
    family: Annotated[str | None, typer.Option(help="only experts of this base family")] = None,
    json_: Json = False,
) -> None:
    """List the experts in the graph.

    Examples:  diffgraph experts   |   diffgraph experts --family emoji --json
    """
    from ..graph.store.opening import open_graph
    from . import tables

    with open_graph(Settings.load()) as store:
        found = store.experts(family)
        measured = {c.expert_id: c for c in store.calibrations()}
    if json_:
        write_json(tables.experts_json(found, measured))
    elif found:
        out.print(tables.experts(found, measured))
    else:
        say("The graph holds no such expert yet. `diffgraph scout` finds some.")


@app.command()
def expert(
    expert_id: Annotated[str, typer.Argument(help="an id, as `diffgraph experts` lists it", show_default=False)],
    json_: Json = False,
) -> None:
    """Show one expert: where it is from, what it says it can do, what was measured, how it stands to others.

    Example:  diffgraph expert world/sea-life
    """
    from ..graph.store.opening import open_graph
    from . import tables

    with open_graph(Settings.load()) as store:
        found = store.expert(expert_id)
        calibrations, relations = store.calibrations(expert_id), store.relations(expert_id)
    if json_:
        write_json(tables.expert_json(found, calibrations, relations))
    else:
        out.print(tables.expert(found, calibrations, relations))


@app.command()
def demo(n: Count = 2, seed: Seed = 0) -> None:
    """Show the whole job on the embedded world: scout, calibrate one new expert, draw, and explain on a page.

    Example:  diffgraph demo -n 4
    """
    from .demo import show_all

    with Progress() as progress:
        show_all(Settings.load(base="world"), n=n, seed=seed, progress=progress)


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
        Path | None, typer.Option(help="a LoRA trained jointly on the true combinations; default: the world's")
    ] = None,
    json_: Json = False,
) -> None:
    """Run an eval suite, or go on with one: log, tables, page with images. Controls run beside ours.

    Examples:

      diffgraph eval compose

      diffgraph eval compose --arms ours,base --seeds 1 --limit 4
    """
    from ..evals.runner import run_suite
    from ..evals.suites.suite import names

    if suite is None:
        write_json({"suites": names()}) if json_ else out.print("\n".join(names()))
        return
    with Progress() as progress:
        done = run_suite(
            suite,
            settings=Settings.load(),
            out=out_,
            arms=[arm.strip() for arm in arms.split(",") if arm.strip()] or None,
            seeds=range(seeds) if seeds else None,
            limit=limit,
            joint=joint,
            on_progress=progress.count,
        )
    if json_:
        files = {"folder": str(done.folder), "log": str(done.log), "page": str(done.html)}
        write_json({"suite": done.name, **files, "summary": done.summary})
        return
    out.print(done.markdown.read_text(encoding="utf-8"), markup=False, soft_wrap=True)
    out.print(f"page {done.html}", markup=False, soft_wrap=True)


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
    """Time every stage of a request, and merging at SDXL's shapes beside other engines and this machine's floor.

    Examples:  diffgraph bench stages --repeats 10 --json  |  diffgraph bench merge --engine diffgraph --device cuda

    Merging takes 9 GB of disk and some minutes an engine, half an hour for all. "span" times the methods that need
    singular vectors beside the full-size SVD; some minutes.
    """
    from . import tables

    settings = Settings.load()
    found: dict[str, object] = {}
    if what in ("all", "stages"):
        from ..evals.bench.stages import measure as time_stages

        with working("Timing every stage"):
            found["stages"] = time_stages(settings, repeats)
    scale = "pico" if small else "sdxl"
    if what in ("all", "merge"):
        from ..evals.bench.merge_bench import KNOWN
        from ..evals.bench.merge_bench import measure as time_merges

        result = settings.root / "bench" / "merge.json"
        found["merge"] = time_merges(
            result, scale=scale, engines=engine or (), known=known or KNOWN, device=device, say=say
        )
    if what in ("all", "span"):
        from ..evals.bench.span_bench import measure as time_spans

        found["span"] = time_spans(settings.root / "bench" / "span.json", scale=scale, say=say)
    write_json(found) if json_ else tables.timings(found)


@app.command()
def doctor(json_: Json = False) -> None:
    """Check the machine, the home, the world, the graph and the brain; print the settings in force.

    Ends with 1 if something needs doing.
    """
    from . import tables
    from .doctor import as_json, examine, settings_rows

    settings = Settings.load()
    with working("Looking at everything"):
        checks = examine(settings)
    if json_:
        write_json(as_json(settings, checks))
    else:
        for check in checks:
            out.print(f"{'ok  ' if check.ok else 'MEND'} {check.name:<14} {check.text}", markup=False, soft_wrap=True)
        out.print()
        out.print(tables.settings(settings_rows(settings)))
    raise typer.Exit(0 if all(check.ok for check in checks) else FAILED)


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
