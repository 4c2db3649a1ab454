"""Running a suite by name: its graph and caches beside the results, then whatever its kind does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path

from ..agents.scout import scout
from ..errors import UserError
from ..files.hashing import file_sha256
from ..settings import Settings, user_path
from ..tools.context import Context
from .suites.suite import KINDS, Options, Progress, SuiteResult, Truths, load


def run_suite(
    name: str,
    *,
    settings: Settings | None = None,
    out: Path | None = None,
    arms: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    limit: int | None = None,
    joint: Path | None = None,
    truths: Truths | None = None,
    data: Path | None = None,
    critics: Sequence[str] | None = None,
    images: Path | None = None,
    metrics: Sequence[str] | None = None,
    on_progress: Progress | None = None,
) -> SuiteResult:
    """Run, or go on with, a suite and write its report.

    Args:
        name: a suite by name, or the path of a YAML file.
        settings: sampler, device, brain and thresholds in force; the environment's by default.
        out: folder of all evaluations; ``evals`` in the home by default. The suite gets ``out/<name>-<digest>``, where
            the digest covers the suite, the world and the settings, so that results of different worlds never mix.
        arms: only these arms; the suite's by default (``joint_lora`` only if there is such a LoRA).
        seeds: other seeds than the suite's.
        limit: at most so many prompts of each group.
        joint: a LoRA trained jointly on the true combinations; the world's own by default.
        truths: gives the true images for the similarity column.
        data: a folder that the suite reads, for one that reads people's own.
        critics: the critics to measure, as in DIFFGRAPH_CRITIC, for the suite of the eyes; the base's own by default.
        images: a folder of images that it measures them on, instead of drawing its own.
        metrics: what else is measured of every image, ``name:argument`` each; the suite's by default.
        on_progress: told after every answer.

    Raises:
        UserError: unknown suite or arm, no such limit; WorldMissing if the world or a scorer is absent.
    """
    settings = settings or Settings()
    suite = load(name)
    if limit is not None and limit < 1:
        raise UserError(f"The limit must be at least 1, not {limit}.")
    root = user_path(out or settings.root / "evals")
    kind = KINDS.get(suite.kind)
    options = Options(
        root, arms, seeds, limit, joint, truths, on_progress, user_path(data) if data else None, critics,
        user_path(images) if images else None, metrics,
    )  # fmt: skip
    if kind.alone is not None:
        alone: SuiteResult = kind.alone(suite, options)
        return alone
    with open_home(settings, root, {e for item in suite.all_items() for e in item.experts}) as ctx:
        assert kind.run is not None
        result: SuiteResult = kind.run(suite, ctx, options)
        return result


@contextmanager
def open_home(settings: Settings, root: Path, named: Set[str]) -> Iterator[Context]:
    """A context whose graph and caches lie beside the results: evaluations neither read nor change the user's graph.

    Weights of another dtype draw other images from the same plan, so each dtype has a home. A suite that names experts
    which the shipped graph leaves out gets a graph of its own, with the world scouted.
    """
    home = root / f"home-{'float32' if settings.dtype == 'auto' else settings.dtype}"
    with Context.open(settings.model_copy(update={"home": home})) as ctx:
        if named <= {e.id for e in ctx.store.experts()}:
            yield ctx
            return
        manifest = ctx.profile.manifest
        version = file_sha256(manifest)[:10] if manifest else ctx.machinery.base.sha256[:10]
    # A home for every version of the base's hub: the scout leaves alone what it has registered once.
    with Context.open(settings.model_copy(update={"home": home.with_name(f"{home.name}-scouted-{version}")})) as ctx:
        for source in ctx.profile.sources:
            scout(ctx, source.partition(":")[0])
        yield ctx
