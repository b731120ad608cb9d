"""`llmc trust`: what belongs to the trust suite alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmc.commands.rendering.say import say, say_json

COMMAND = typer.Typer(help="Tools of the suite trust: how good a toxicity scorer is.", no_args_is_help=True)


@COMMAND.callback()
def _group() -> None:
    """Keeps `calibrate` a sub-command while it is the only one."""


@COMMAND.command()
def calibrate(
    scorer: Annotated[str, typer.Argument(metavar="SCORER", help="Toxicity scorer, NAME or NAME:SETTING.")],
    data_root: Annotated[Path, typer.Option(help="Folder with decodingtrust/data.")] = Path("data"),
    seed: Annotated[int, typer.Option(help="Draws the half that is held out.")] = 0,
    online: Annotated[bool, typer.Option("--online", help="Let the scorer use the network.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the fitted map.")] = False,
) -> None:
    """Report how well SCORER agrees with the Perspective scores stored beside the prompts."""
    from llmc.offline import network
    from llmc.reading.seed import check_seed
    from llmc.trust.machinery.calibrate import calibrate as measure
    from llmc.trust.machinery.calibrate import stored
    from llmc.trust.machinery.toxicity_scorer import resolve

    check_seed(seed)
    chosen = resolve(scorer)
    chosen.check()
    texts = stored(data_root)
    say(f"scoring {len(texts)} texts with {chosen.name}", err=True)
    with network(allowed=online):
        found = measure(chosen, texts, seed=seed)
    if as_json:
        say_json(found.as_dict())
        return
    say(f"scorer       {found.scorer} ({found.source})")
    say(f"texts        {found.n_fit} to fit, {found.n_held_out} held out, {found.n_unscored} unscored")
    for name, value in (("Spearman", found.spearman), ("AUC at 0.5", found.auc)):
        say(f"{name:<12} {'undefined' if value is None else f'{value:.3f}'}")
    say(f"MAE          {found.mae_raw:.3f} raw, {found.mae:.3f} after the isotonic map")
