"""lm-eval's own tasks on any backend, brought into the form of a run."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jinja2 import TemplateError

from llmc.errors import UserError, disk_sentence
from llmc.evaluate.panel import collapsed, flags_of, option_shares, panel
from llmc.evaluate.runner import margin
from llmc.evaluate.stats.estimate import Estimate, Range, mean, rate
from llmc.evaluate.task import SHARE, Answer, Marked, Metric, finite, likeliest
from llmc.models.third_party import their_code

SUITE = "lm-eval"
_RANGES: Mapping[str, Range] = {
    **dict.fromkeys(("acc", "acc_norm", "acc_mutual_info", "acc_bytes", "acc_all", "exact_match"), SHARE),
    **dict.fromkeys(("bleu", "chrf", "chrf++"), (0.0, 100.0)),
    **dict.fromkeys(("perplexity", "word_perplexity", "byte_perplexity"), (1.0, None)),
    "bits_per_byte": (0.0, None),
    "brier_score": (0.0, 2.0),
    "likelihood": (None, 0.0),
    "mcc": (-1.0, 1.0),
    "ter": (0.0, None),
}
"""What values lm-eval's own metrics can have; an `f1`, which tasks make from 0 to 1 or to 100, has none here."""


class Foreign(NamedTuple):
    """One lm-eval task's part of a run."""

    described: dict[str, Any]
    results: dict[str, Any]
    samples: list[dict[str, Any]]


def find(names: Sequence[str], folders: Sequence[Path], ours: Iterable[str] = ()) -> Any:
    """lm-eval's list of tasks with all of `names` in it; `folders` are searched for task files first.

    A `UserError` for a name that is nobody's, with the nearest one; `ours` are names that it may have been meant for.
    """
    from lm_eval.tasks import TaskManager

    paths = [str(folder) for folder in folders]
    with their_code(", ".join(paths) or "lm-eval's folder", "read as task files", hint="mend the file that it names"):
        # Reading lm-eval's own thousands of task files takes a minute, so only where a name isn't in the folders.
        manager = TaskManager(include_path=paths, include_defaults=False) if paths else None
        if manager is None or not set(names) <= set(manager.all_tasks):
            manager = TaskManager(include_path=paths or None)
    if missing := [name for name in names if name not in manager.all_tasks]:
        near = difflib.get_close_matches(missing[0], [*ours, *manager.all_tasks], n=1)
        meant = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(
            f"no task called {', '.join(missing)}",
            hint=f"{meant}`llmc tasks` lists ours, `lm-eval ls tasks` lists lm-eval's",
        )
    return manager


class Found(NamedTuple):
    """What lm-eval tasks came to."""

    tasks: dict[str, Foreign]
    groups: dict[str, dict[str, Any]]
    """Groups that sum up their tasks, with lm-eval's own numbers: name to `tasks` and `metrics`."""


def missing_data(names: Sequence[str], manager: Any) -> dict[str, UserError]:
    """The tasks among `names` that can't be asked, each with the reason: their data are read, nobody is asked."""
    from lm_eval.tasks import get_task_dict

    found = {}
    for name in names:
        try:
            with _sentences([name]):
                get_task_dict([name], manager)
        except UserError as error:
            found[name] = error
        except Exception as error:  # a task's own code and the dataset library raise many kinds
            said = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            found[name] = UserError(f"task {name} can't be prepared ({said})", hint="mend what it names")
    return found


@contextmanager
def _sentences(names: Sequence[str]) -> Iterator[None]:
    """A `UserError` for what a person can mend about lm-eval's tasks."""
    try:
        yield
    except TemplateError as error:
        raise UserError(
            f"a template of {', '.join(names)} can't be filled in: {str(error).splitlines()[0]}",
            hint="mend the task's file",
        ) from error
    except (ConnectionError, FileNotFoundError, OSError) as error:
        if disk_sentence(error) is not None:  # answers that can't be written are no missing data
            raise
        raise UserError(
            f"the data of {', '.join(names)} can't be read: {str(error).splitlines()[0]}",
            hint="download the dataset first, or name a local one in the task's file and give its folder",
        ) from error
    except ValueError as error:
        if not str(error).startswith("Duplicate task"):
            raise
        raise UserError(f"{', '.join(names)}: {error}", hint="ask for them in runs of their own") from error


def evaluate(lm: Any, names: Sequence[str], manager: Any, limit: int | None, seed: int, *, chat: bool = False) -> Found:
    """Run lm-eval tasks and groups by name; `manager` is what `find` found them in.

    Values and errors are `lm_eval.simple_evaluate`'s, its bootstrapped errors (of medians, corpus scores) too.
    `chat`: lm-eval's `apply_chat_template` with examples as turns; its own default, and ours, is plain text.
    """
    import lm_eval

    with _sentences(names):
        found = lm_eval.simple_evaluate(
            model=lm, tasks=list(names), task_manager=manager, limit=limit, log_samples=True,
            random_seed=seed, numpy_random_seed=seed, torch_random_seed=seed, fewshot_random_seed=seed,
            apply_chat_template=chat, fewshot_as_multiturn=chat,
        )  # fmt: skip
    tasks = {name: _task(name, found) for name in found["samples"]}
    return Found(tasks, {name: _group(name, found) for name in found.get("groups", {})})


def _group(name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """A group's row: each aggregated metric, by lm-eval's weights and with its pooled error."""
    row = found["groups"][name]
    counts = row.get("sample_count", {})
    members = found.get("group_subtasks", {}).get(name, [])
    known = [found["higher_is_better"][task] for task in members if task in found["higher_is_better"]]
    direction: Mapping[str, Any] = known[0] if known else {}
    metrics = {}
    for named, key, value, stderr in _numbers(row):
        half = 1.959963984540054 * (stderr or 0.0)
        edges = None if stderr is None else (value - half, value + half)
        estimate = Estimate(finite(value), stderr, counts.get(key, 0), edges)
        metrics[named] = _declared(key, value, "statistic", bool(direction.get(key.partition(",")[0], True))).facts(
            estimate
        )
    return {"suite": SUITE, "tasks": list(members), "metrics": metrics}


def _task(name: str, found: Mapping[str, Any]) -> Foreign:
    config = found["configs"][name]
    higher = found.get("higher_is_better", {}).get(name, {})
    numbers = _numbers(found["results"][name])
    # lm-eval has a line a document and filter; ours is the first filter's, with the marks of all.
    filtered: dict[Any, list[Mapping[str, Any]]] = {}
    for each in found["samples"][name]:
        filtered.setdefault(each["doc_id"], []).append(each)
    keys_of = {named: key for named, key, _, _ in numbers}
    lines = [_line(filtered[doc_id], config, keys_of) for doc_id in sorted(filtered)]
    metrics_found = {
        named: _metric(key, value, stderr, [line["marks"][named] for line in lines], higher)
        for named, key, value, stderr in numbers
    }
    answers = [[Answer(text=each) for each in _texts(line["answer"])] for line in lines]
    marked = [
        Marked(marks=line["marks"], choice=line["choice"], options=tuple(line["options"]) if line["options"] else None)
        for line in lines
    ]
    flags = [flags_of(verdict, given) for verdict, given in zip(marked, answers, strict=True)]
    for line, flag in zip(lines, flags, strict=True):
        line["flags"] = flag
    shares = panel(flags, has_texts=config["output_type"] == "generate_until")
    options = option_shares(marked)
    keys = [line["prompt_sha256"] for line in lines]
    version = config.get("metadata", {}).get("version", 0)
    described = {
        "suite": SUITE,
        "version": int(float(version)),
        "mode": "fixed",
        "scorer": None,
        "prompts_sha256": hashlib.sha256("".join(sorted(keys)).encode()).hexdigest(),
        "items_sha256": hashlib.sha256(json.dumps(sorted(line["id"] for line in lines)).encode()).hexdigest(),
        "n": len(lines),
    }
    results: dict[str, Any] = {
        "suite": SUITE,
        "dimension": None,
        "version": int(float(version)),
        "primary": numbers[0][0],
        "metrics": metrics_found,
        "panel": shares,
        "collapsed": collapsed(shares, options),
        "notes": [],
        "options": options,
    }
    return Foreign(described, results, lines)


def _numbers(results: Mapping[str, Any]) -> list[tuple[str, str, float, float | None]]:
    """Each metric of each filter: our name for it, lm-eval's `metric,filter`, its value and its error.

    Where there is one filter its name says nothing and is left out.
    """
    found = []
    for key, value in results.items():
        metric, comma, by = key.partition(",")
        if comma and not metric.endswith("_stderr") and isinstance(value, int | float):
            error = results.get(f"{metric}_stderr,{by}")
            found.append((key, float(value), finite(float(error)) if isinstance(error, int | float) else None))
    single = len({key.partition(",")[2] for key, _, _ in found}) == 1
    return [(key.partition(",")[0] if single else key, key, value, error) for key, value, error in found]


def _metric(
    key: str, value: float, stderr: float | None, given: Sequence[float | None], higher: Mapping[str, Any]
) -> dict[str, Any]:
    """lm-eval's value and error, with our interval where the value is a mean of marks."""
    marks = [mark for mark in given if mark is not None]
    binary = set(marks) <= {0.0, 1.0}
    ours = rate(marks, range(len(marks))) if binary else mean(marks)
    is_mean = ours.value is not None and abs(ours.value - value) < 1e-9
    kind: Literal["proportion", "mean", "statistic"] = (
        "proportion" if is_mean and binary else "mean" if is_mean else "statistic"
    )
    if is_mean:
        estimate = replace(ours, value=value, stderr=ours.stderr if stderr is None else stderr)
    else:
        estimate = Estimate(finite(value), stderr, len(given))
    return _declared(key, value, kind, bool(higher.get(key.partition(",")[0], True))).facts(estimate)


def _declared(key: str, value: float, kind: Literal["proportion", "mean", "statistic"], higher: bool) -> Metric:
    least, greatest = _RANGES.get(key.partition(",")[0], (None, None))
    # A task may call a metric of its own by one of these names.
    fits = (least is None or value >= least) and (greatest is None or value <= greatest)
    return Metric(direction="higher" if higher else "lower", kind=kind, range=(least, greatest) if fits else None)


def _line(
    filtered: Sequence[Mapping[str, Any]], config: Mapping[str, Any], metrics: Mapping[str, str]
) -> dict[str, Any]:
    """A document's line from lm-eval's, one a filter; `metrics`: our name of each to lm-eval's `metric,filter`."""
    document = filtered[0]
    arguments = [tuple(each) for each in _in_order(document["arguments"])]
    kind = config["output_type"]
    chosen: dict[str, Any] = {"choice": None, "options": None, "loglikelihoods": None, "answer": None}
    if kind == "multiple_choice":
        known = [finite(float(each[0])) for each in document["filtered_resps"]]
        options = [str(each[1]) for each in arguments][: len(known)]
        chosen = {"choice": likeliest(known), "options": options, "loglikelihoods": known, "answer": None}
    elif kind == "generate_until":
        texts = [str(each) for each in document["resps"][0]]
        chosen["answer"] = texts[0] if len(texts) == 1 else texts
    prompt = str(arguments[0][0])
    by_filter = {str(each.get("filter", "none")): each for each in filtered}
    marks = {}
    for named, key in metrics.items():
        metric, _, by = key.partition(",")
        marks[named] = _mark(by_filter.get(by, {}).get(metric))
    return {
        "id": f"{document['doc_id']:06d}",
        "cluster": None,
        "stratum": None,
        "prompt_sha256": hashlib.sha256(json.dumps([list(map(str, each)) for each in arguments]).encode()).hexdigest(),
        "prompt": prompt,
        "question": prompt[-200:],
        "request": {"kind": "loglikelihood" if kind == "multiple_choice" else kind},
        "gold": str(document["target"]),
        **chosen,
        "marks": marks,
        "flags": {},
        "kl": None,
        "margin": margin(chosen["loglikelihoods"]),
        "seconds": None,
    }


def _texts(answer: str | list[str] | None) -> list[str]:
    return [] if answer is None else [answer] if isinstance(answer, str) else answer


def _in_order(arguments: Any) -> list[Any]:
    """The requests of a document: lm-eval logs a list, or a mapping of numbered parts."""
    if isinstance(arguments, Mapping):
        return [tuple(each.values()) for each in arguments.values()]
    return list(arguments)


def _mark(value: Any) -> float | None:
    return finite(float(value)) if isinstance(value, bool | int | float) else None
