"""`llmc rescore`: the answers of a finished run by another version of the marking rules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from llmc.commands.rendering.say import say


def rescore(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run with the suite trust.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the new run goes.")],
    scorer: Annotated[
        str, typer.Option(help="Marking rules: v0, v1, vC or fixed, toxicity=NAME, or both with a comma.")
    ],
    data_root: Annotated[Path | None, typer.Option(help="Folder with the data of the run; not for mini.")] = None,
    online: Annotated[bool, typer.Option("--online", help="Let a toxicity scorer use the network.")] = False,
) -> None:
    """Mark the stored answers of RUN by other rules of the suite trust; no model is needed, and the rest is copied."""
    from contextlib import closing

    from llmc.catalog import catalog
    from llmc.commands.rendering.eval_table import table
    from llmc.errors import UserError
    from llmc.folders.place import check_out
    from llmc.offline import network
    from llmc.runs.dimension import dimension_result
    from llmc.runs.writer import Run, RunWriter
    from llmc.trust.machinery.rescore import context
    from llmc.trust.machinery.rescore import rescore as mark_again

    before = Run(run)
    check_out(out, {"the run": run, "the data": data_root})
    writer = RunWriter(out)
    dimensions = catalog("llmc.trust.dimensions", "DIMENSION").values()
    own = {task.name: task for dimension in dimensions for task in dimension.tasks}
    if not own.keys() & set(before.tasks):
        raise UserError(f"{run} has no task of the suite trust", hint="other suites have one version of their rules")
    ctx = context(before.manifest, scorer=scorer, data_root=data_root)
    with network(allowed=online):
        again = {name: mark_again(own[name], ctx, before.samples(name)) for name in before.tasks if name in own}
    manifest: dict[str, Any] = {**before.manifest, "tasks": dict(before.manifest["tasks"])}
    results: dict[str, Any] = {"tasks": dict(before.results["tasks"])}
    with closing(writer):
        writer.begin(manifest)
        for name in before.tasks:
            if name not in again:
                writer.write_samples(name, before.samples(name))
                continue
            writer.write_samples(name, again[name].samples)
            results["tasks"][name] = again[name].results
            manifest["tasks"][name] = {**manifest["tasks"][name], "scorer": scorer, "version": own[name].version}
        results["dimensions"] = {one.name: dimension_result(one, results["tasks"]) for one in dimensions}
        writer.finish(manifest, results)
    say(*table(results).split("\n"))


COMMAND = rescore
