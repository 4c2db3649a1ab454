"""A kind of suite that makes no images: how many other names of the styles are read as the style that they stand for.

It needs no file of data, so the kind is a suite by itself: `diffgraph eval aliases`.
"""

from __future__ import annotations

from diffgraph.evals.suites.suite import Options, Suite, SuiteResult, suite_kind
from diffgraph.files.atomic import write_bytes
from diffgraph.graph.selection.solver import activate
from diffgraph.tools.context import Context


class Aliases(Suite):
    """What a suite of this kind says in its file; every field has a default."""

    title: str = "Other names of styles"
    subject: str = "octopus"


@suite_kind("aliases", Aliases)
def run(suite: Aliases, ctx: Context, options: Options) -> SuiteResult:
    """Ask the graph for the subject in every style, by every name of it."""
    asked = [
        (s.name, a) for e in ctx.store.experts(ctx.family) for s in e.skills if s.facet == "style" for a in s.aliases
    ]
    asked = asked[: options.limit]
    lines, right = [], 0
    for number, (style, alias) in enumerate(asked, 1):
        found = activate(f"{suite.subject}, {alias}", ctx.store, ctx.family, ctx.reading)
        good = any(f.skill == style for f in found.facets)
        right += good
        lines.append(f"- {alias}: {style if good else 'not found'}")
        if options.on_progress is not None:
            options.on_progress(number, len(asked), alias)
    folder = options.root / suite.name
    folder.mkdir(parents=True, exist_ok=True)
    told = f"# {suite.title}\n\n{right} of {len(asked)}\n\n" + "\n".join(lines) + "\n"
    for name in ("log.txt", "report.md", "report.html"):
        write_bytes(folder / name, told.encode())
    paths = (folder / "log.txt", folder / "report.md", folder / "report.html")
    return SuiteResult(suite.name, folder, *paths, {"asked": len(asked), "right": right})
