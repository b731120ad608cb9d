"""Gathers the commands, calls one, and turns every way of ending but a signal into an exit code."""

from __future__ import annotations

import importlib
import logging
import pkgutil
import traceback
from typing import Annotated

import typer
from typer.exceptions import TyperException

import llmc.commands
from llmc.commands.rendering.help_screens import Command, Group, place
from llmc.commands.rendering.say import LogLines, say
from llmc.errors import LONGEST, Exit, UserError, disk_sentence, shortened
from llmc.offline import NetworkRefused, network
from llmc.stopping import heard
from llmc.version import __version__

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
        say(f"llmc {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")] = False,
) -> None:
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[LogLines()])


def _gather() -> None:
    for info in sorted(pkgutil.iter_modules(llmc.commands.__path__), key=lambda info: place(info.name)):
        if info.ispkg:
            continue
        command = importlib.import_module(f"llmc.commands.{info.name}").COMMAND
        if isinstance(command, typer.Typer):
            for part in command.registered_commands:
                part.cls = Command
            app.add_typer(command, name=info.name, cls=Group)
        else:
            app.command(name=info.name, cls=Command)(command)


_gather()


def call(arguments: list[str] | None) -> int:
    """The exit code of `llmc ARGUMENTS`. Raises KeyboardInterrupt, and nothing else that an exception can say."""
    try:
        with network(allowed=False):  # but for what a command is told to fetch
            code = app(args=arguments, standalone_mode=False, prog_name="llmc")  # by `python -m llmc` too
    except BrokenPipeError:
        return Exit.OK
    except typer.Abort:
        raise KeyboardInterrupt from None
    except Exception as error:
        if heard():  # what a library has made of the interrupt
            raise KeyboardInterrupt from None
        return _said(error)
    if code == Exit.INTERRUPTED:  # typer turns an interrupt within a command into its code
        raise KeyboardInterrupt
    return code if isinstance(code, int) else Exit.OK


def _said(error: Exception) -> int:
    """The code of an error, whose sentence is said."""
    if isinstance(error, UserError):
        return _say(error, error.exit_code)
    if isinstance(error, TyperException):
        return _say(_usage(error), Exit.USER)
    if isinstance(error, OSError) and (told := disk_sentence(error)) is not None:
        return _say(told, Exit.USER)
    if (refused := _refused(error)) is not None:
        return _say(refused, Exit.USER)
    say(*"".join(traceback.format_exception(error)).rstrip().split("\n"), err=True)
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


def _say(told: object, code: Exit) -> int:
    say(f"llmc: {told}", err=True, colour="red")
    return code
