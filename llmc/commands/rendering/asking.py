"""The options by which models are asked: defined once, so that `llmc eval` and `llmc run` can't drift apart."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmc.commands.rendering import options

if TYPE_CHECKING:
    from llmc.jobs.asking import Asking


def asking(
    suite: Annotated[str | None, options.SUITE] = None,
    tasks: Annotated[str | None, options.TASKS] = None,
    task_folder: Annotated[list[Path] | None, typer.Option(help="A folder of lm-eval task files; repeatable.")] = None,
    scale: Annotated[str, options.SCALE] = "quick",
    mode: Annotated[str, options.MODE] = "fixed",
    data_root: Annotated[Path | None, options.DATA_ROOT] = None,
    backend: Annotated[str, options.BACKEND] = "engine",
    backend_arg: Annotated[list[str] | None, options.BACKEND_ARG] = None,
    batch_tokens: Annotated[int, typer.Option(help="Most tokens of a batch, padding included; of the engine.")] = 2048,
    limit: Annotated[int | None, options.LIMIT] = None,
    seed: Annotated[int, typer.Option(help="Decides every sampled answer and every random choice.")] = 0,
    scorer: Annotated[str | None, options.SCORER] = None,
    judge: Annotated[list[str] | None, options.JUDGE] = None,
    device: Annotated[str, options.DEVICE] = "auto",
    dtype: Annotated[
        str, typer.Option(help="What models answer in. auto: float32 on a CPU, else the checkpoint's.")
    ] = "auto",
    kernels: Annotated[str, options.KERNELS] = "exact",
    chat: Annotated[bool | None, options.CHAT] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out tasks that can't be asked (no data).")
    ] = False,
    online: Annotated[bool, typer.Option("--online", help=options.ONLINE)] = False,
) -> Asking:
    """The options as settings."""
    from llmc.commands.rendering.pairs import typed_pairs
    from llmc.jobs.asking import Asking

    return Asking(
        suites=_names(suite), tasks=_names(tasks), task_folders=tuple(task_folder or ()),
        scale=scale, mode=mode, data_root=data_root, backend=backend,  # type: ignore[arg-type]
        backend_args=typed_pairs(backend_arg or [], "--backend-arg"), batch_tokens=batch_tokens, limit=limit,
        seed=seed, scorer=scorer, judges=tuple(judge or ()), device=device, dtype=dtype,
        kernels=kernels, chat=chat, allow_missing=allow_missing, online=online,  # type: ignore[arg-type]
    )  # fmt: skip


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def with_asking(command: Callable[..., None], *, suite: str | None = None) -> Callable[..., None]:
    """`command` with the options of `asking` in the place of its parameter of that name, for typer to read.

    `suite` is what is asked where neither --suite nor --tasks is given.
    """
    unread: dict[str, Any] = {"Asking": Any}  # importing it takes seconds
    shared = inspect.signature(asking, eval_str=True, locals=unread).parameters
    own = inspect.signature(command, eval_str=True, locals=unread).parameters
    parameters: list[inspect.Parameter] = []
    for name, parameter in own.items():
        parameters += shared.values() if name == "asking" else [parameter]

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        words = {name: given.pop(name) for name in shared}
        if words["suite"] is None and words["tasks"] is None:
            words["suite"] = suite
        command(asking=asking(**words), **given)

    as_keywords = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    wrapped.__signature__ = inspect.Signature(as_keywords)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {each.name: each.annotation for each in parameters}
    return wrapped
