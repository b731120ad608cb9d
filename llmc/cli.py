"""The `llmc` command: gathers the commands and turns every way of ending into an exit code."""

from __future__ import annotations

import importlib
import logging
import os
import pkgutil
import sys
import traceback
from typing import Annotated

import typer
from typer.exceptions import TyperException

import llmc.commands
from llmc._version import __version__
from llmc.commands._help import Command, Group, place
from llmc.commands._stop import terminable
from llmc.errors import LONGEST, Exit, UserError, disk_sentence, shortened
from llmc.offline import NetworkRefused, network

app = typer.Typer(
    name="llmc",
    cls=Group,
    help="Compress a language model, then measure what it still knows and how far it can still be trusted.",
    epilog="`llmc demo` shows all of it on a small model inside the package, in minutes and without a network.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llmc {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")] = False,
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )


def _gather() -> None:
    for info in sorted(pkgutil.iter_modules(llmc.commands.__path__), key=lambda info: place(info.name)):
        if info.name.startswith("_"):
            continue
        command = importlib.import_module(f"llmc.commands.{info.name}").COMMAND
        if isinstance(command, typer.Typer):
            for part in command.registered_commands:
                part.cls = Command
            app.add_typer(command, name=info.name, cls=Group)
        else:
            app.command(name=info.name, cls=Command)(command)


_gather()


def run(arguments: list[str] | None = None) -> int:
    """The exit code of `llmc ARGUMENTS`; everything that can end a command ends here."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # libraries' bars; ours is in commands/_progress.py
    with terminable() as terminated:
        code = _run(arguments)
    if code == Exit.INTERRUPTED:
        kept = "what is finished is kept, run it again, with --resume where the command has that"
        return _say(f"interrupted; {kept}", Exit.TERMINATED if terminated() else Exit.INTERRUPTED)
    return code


def _run(arguments: list[str] | None) -> int:
    """The exit code; of an interrupt nothing has been said yet."""
    try:
        with network(allowed=False):  # but for what a command is told to fetch
            code = app(args=arguments, standalone_mode=False, prog_name="llmc")  # by `python -m llmc` too
    except UserError as error:
        return _say(str(error), error.exit_code)
    except TyperException as error:
        return _say(_usage(error), Exit.USER)
    except (KeyboardInterrupt, typer.Abort):
        return Exit.INTERRUPTED
    except BrokenPipeError:
        return Exit.OK
    except OSError as error:
        if (sentence := disk_sentence(error)) is not None:
            return _say(sentence, Exit.USER)
        return _our_fault()
    except Exception:
        return _our_fault()
    return code if isinstance(code, int) else Exit.OK  # typer turns an interrupt within a command into its code


def _our_fault() -> int:
    if (refused := _refused(sys.exc_info()[1])) is not None:
        return _say(str(refused), Exit.USER)
    traceback.print_exc()
    return _say("this is a bug in llmc, not a loss of the model; please report the lines above", Exit.INTERNAL)


def _refused(error: BaseException | None) -> NetworkRefused | None:
    """What wanted to leave this machine, behind whatever a library has made of that."""
    while error is not None and not isinstance(error, NetworkRefused):
        error = error.__cause__ or error.__context__
    return error


def _usage(error: Exception) -> str:
    """What the parser says of a wrong option, as one sentence, with where its help is."""
    describe = getattr(error, "format_message", lambda: str(error))
    context = getattr(error, "ctx", None)
    where = "" if context is None else f" (see `{context.command_path} --help`)"
    return shortened(" ".join(str(describe()).split()).rstrip("."), LONGEST - len(where)) + where


def _say(sentence: str, code: Exit) -> int:
    typer.secho(f"llmc: {sentence}", err=True, fg=None if code in (Exit.INTERRUPTED, Exit.TERMINATED) else "red")
    return code


def main() -> None:
    """The console entry point."""
    sys.exit(run())
