"""``critic``: who can judge images here, and how far what they say can be believed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import out, say, write_json
from ..options import Base, Json

if TYPE_CHECKING:
    from ...scoring.critics.vlm.fitting import Fitted

POSITION = 48
app = typer.Typer(
    name="critic",
    no_args_is_help=True,
    help="Who judges images: list the critics there are, fit a vision model's probabilities to labelled images.\n\n"
    "DIFFGRAPH_CRITIC names the one in force: auto (whom the base brings), vlm:openai:MODEL, "
    "vlm:local:FOLDER_OR_HUB_ID, clip:FOLDER_OR_HUB_ID, another one's name, none.",
)


@app.command("list")
def list_(base: Base = None, json_: Json = False) -> None:
    """List the critics there are, which of them can judge what the base draws now, and why the others cannot.

    Examples:

      diffgraph critic list

      DIFFGRAPH_CRITIC=vlm:openai:qwen3-vl-4b diffgraph critic list --base my-sdxl

    A star stands before the one in force. One that needs an argument is tried with the one in DIFFGRAPH_CRITIC.
    """
    from ...bases import registry
    from ...errors import NoCritic, UserError
    from ...scoring import protocol
    from ...settings import Settings
    from .. import tables

    settings = Settings.load()
    profile = registry.chosen(base or settings.base, settings.root)
    setup = protocol.CriticSetup(profile, home=settings.root)
    known = protocol.known(settings.critic, setup)
    try:
        chosen, why = protocol.chosen(settings.critic, setup), ""
    except (NoCritic, UserError) as error:
        chosen, why = "", str(error)
    if json_:
        listed = [{"name": one.name, "about": one.about, "fits": one.fits, "why": one.why} for one in known]
        write_json(
            {"base": profile.name, "setting": settings.critic, "in_force": chosen, "why": why, "critics": listed}
        )
        return
    rows = tables.table("", "critic", f"fits {profile.name}", "what it is")
    for one in known:
        star = "*" if chosen.partition(":")[0] == one.name else ""
        rows.add_row(star, one.name, "yes" if one.fits else f"no: {one.why}", one.about)
    out.print(rows)
    if why:
        say(why)


@app.command()
def fit(
    labels: Annotated[Path, typer.Option("--labels", help="a folder of images with labels.jsonl", show_default=False)],
    critic: Annotated[
        str | None, typer.Option("--critic", help="whom to fit, as in DIFFGRAPH_CRITIC; default: that setting")
    ] = None,
    out_: Annotated[
        Path | None,
        typer.Option("--out", help="the file to write; default: where this critic looks for it, in the home"),
    ] = None,
    base: Base = None,
    json_: Json = False,
) -> None:
    """Fit a vision model's probabilities to images whose truth is known, facet by facet.

    The folder holds images and labels.jsonl, a line for each thing that an image shows or lacks:

      {"image": "fox1.png", "facet": "subject", "text": "red fox", "shown": true}

      {"image": "fox1.png", "facet": "style", "text": "pixel art", "shown": false}

    Facets are what the critic judges: subject, style, background, clothing, pose, concept, count, attribute, relation,
    text, prompt (the request as a whole). Label at least 20 of each facet, of both sorts, from images that your base
    and experts drew: 200 are better.

    AUROC says how well the critic tells the two sorts apart (0.5: not at all; no fitting mends that). ECE says how far
    its probabilities are from the truth, before and after; after is measured on labels that were held out.

    Examples:

      DIFFGRAPH_CRITIC=vlm:openai:qwen3-vl-4b diffgraph critic fit --labels ~/labelled

      diffgraph critic fit --labels ~/labelled --critic vlm:local:~/models/SmolVLM2-2.2B --out smol.json
    """
    from ...bases import registry
    from ...errors import UserError
    from ...scoring import protocol
    from ...scoring.critics.vlm import calibration_path, fitted_as, uncalibrated
    from ...scoring.critics.vlm.fitting import fit_folder
    from ...settings import Settings, user_path
    from ..progress import Progress

    settings = Settings.load()
    named = (critic or settings.critic).strip()
    profile = registry.chosen(base or settings.base, settings.root)
    name, _, argument = named.partition(":")
    if name.strip() != "vlm":
        raise UserError(
            f"{named} is no vision model, and only those are fitted: name one with --critic vlm:openai:MODEL or "
            "vlm:local:FOLDER_OR_HUB_ID."
        )
    # What was fitted before does not count, be it damaged or another model's.
    made = uncalibrated(protocol.CriticSetup(profile, argument, home=settings.root))
    path = user_path(out_) if out_ else calibration_path(fitted_as(argument, made), settings.root)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path.parent} cannot be made ({error.strerror}). Name another file with --out.") from error
    if path.is_dir():
        raise UserError(f"{path} is a folder. Name a file with --out.")
    with Progress() as progress:
        found = fit_folder(made, user_path(labels), tell=say, count=progress.count)
    fitted = bool(found.calibration.facets)
    if fitted:
        found.calibration.write(path)
    if json_:
        facets = [one.model_dump(mode="json") for one in found.facets]
        written = str(path) if fitted else ""
        write_json({"critic": named, "file": written, "unanswered": found.unanswered, "facets": facets})
        return
    _show(found)
    if not fitted:
        say("There is no curve, so nothing is written, and what was fitted before stays.")
    elif out_:
        say(f"{path} is written. DIFFGRAPH_CRITIC_CALIBRATION={path} takes it.")
    else:
        say(f"{path} is written; {named} goes by it from here on.")


def _show(found: Fitted) -> None:
    from .. import tables

    rows = tables.table("facet", "labels", "shown", "AUROC", "ECE before", "ECE after", "")
    for one in found.facets:
        area = "-" if one.auroc is None else f"{one.auroc:.3f}"
        after = "-" if one.ece_after is None else f"{one.ece_after:.3f}"
        rows.add_row(
            one.facet,
            str(one.n),
            str(one.shown),
            area,
            f"{one.ece:.3f}",
            after,
            f"left as it is: {one.why}" if one.why else "",
        )
    out.print(rows)
    if found.unanswered:
        say(f"{found.unanswered} labels got no answer, neither yes nor no.")
