"""lm-eval's own tasks on any backend, brought into the form of a run."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jinja2 import TemplateError

from llmc.errors import UserError, disk_sentence
from llmc.evaluate.estimate import Estimate, Range, mean, rate
from llmc.evaluate.panel import collapsed, flags_of, option_shares, panel
from llmc.evaluate.runner import margin
from llmc.evaluate.task import SHARE, Answer, Marked, Metric, finite, likeliest

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


def evaluate(
    lm: Any, names: Sequence[str], manager: Any, limit: int | None, seed: int, *, chat: bool = False
) -> dict[str, Foreign]:
    """Run lm-eval tasks by name; `manager` is what `find` found them in.

    `chat`: lm-eval's `apply_chat_template` with examples as turns; its own default, and ours, is plain text.
    """
    import lm_eval

    with _sentences(names):
        found = lm_eval.simple_evaluate(
            model=lm, tasks=list(names), task_manager=manager, limit=limit, log_samples=True, bootstrap_iters=0,
            random_seed=seed, numpy_random_seed=seed, torch_random_seed=seed, fewshot_random_seed=seed,
            apply_chat_template=chat, fewshot_as_multiturn=chat,
        )  # fmt: skip
    return {name: _task(name, found) for name in found["samples"]}


def _task(name: str, found: Mapping[str, Any]) -> Foreign:
    config = found["configs"][name]
    higher = found.get("higher_is_better", {}).get(name, {})
    metrics = _numbers(found["results"][name])
    # One line a document: the first filter's, which is the one that lm-eval shows first.
    first = {each["doc_id"]: each for each in reversed(found["samples"][name])}
    documents = [first[doc_id] for doc_id in sorted(first)]
    lines = [_line(document, config, list(metrics)) for document in documents]
    metrics_found = {
        metric: _metric(metric, value, lines, bool(higher.get(metric, True))) for metric, value in metrics.items()
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
        "primary": next(iter(metrics)),
        "metrics": metrics_found,
        "panel": shares,
        "collapsed": collapsed(shares, options),
        "notes": [],
        "options": options,
    }
    return Foreign(described, results, lines)


def _numbers(results: Mapping[str, Any]) -> dict[str, float]:
    """Metric to value, of each metric the first filter's."""
    found: dict[str, float] = {}
    for key, value in results.items():
        metric, comma, _ = key.partition(",")
        if comma and not metric.endswith("_stderr") and isinstance(value, int | float):
            found.setdefault(metric, float(value))
    return found


def _metric(name: str, value: float, lines: Sequence[Mapping[str, Any]], higher: bool) -> dict[str, Any]:
    """The metric with our own error where it is a mean of marks; without one where it is something else."""
    marks = [line["marks"][name] for line in lines if line["marks"].get(name) is not None]
    binary = set(marks) <= {0.0, 1.0}
    ours = rate(marks, range(len(marks))) if binary else mean(marks)
    is_mean = ours.value is not None and abs(ours.value - value) < 1e-9
    estimate = ours if is_mean else Estimate(finite(value), None, len(lines))
    kind: Literal["proportion", "mean", "statistic"] = (
        "proportion" if is_mean and binary else "mean" if is_mean else "statistic"
    )
    least, greatest = _RANGES.get(name, (None, None))
    # A task may call a metric of its own by one of these names.
    fits = (least is None or value >= least) and (greatest is None or value <= greatest)
    known = (least, greatest) if fits else None
    return Metric(direction="higher" if higher else "lower", kind=kind, range=known).facts(estimate)


def _line(document: Mapping[str, Any], config: Mapping[str, Any], metrics: Sequence[str]) -> dict[str, Any]:
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
    marks = {metric: _mark(document.get(metric)) for metric in metrics}
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
