"""What a report tells about runs beside their verdicts: where they came from, their size, damage and health."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llmc.judging.comparison import Divergence, Health, Matrix, RunFacts
from llmc.judging.joined import Joined
from llmc.judging.pairs import TaskPair, divergences
from llmc.judging.rows import noise_flip_rate
from llmc.runs.forms import PANEL_SHARES, TaskResult
from llmc.runs.reader import Run

_CDF_POINTS = 60


def run_facts(run: Run) -> RunFacts:
    """Where a run came from and the command lines that make it again."""
    m = run.manifest
    made = m.compression or {}
    stages = made.get("stages")
    settings = [dict(stage) for stage in stages if isinstance(stage, Mapping)] if isinstance(stages, list) else []
    return RunFacts(
        label=run.label,
        path=str(run.path),
        model_id=m.model.id,
        model_sha256=m.model.sha256,
        bytes_on_disk=m.model.bytes_on_disk,
        n_parameters=m.model.n_parameters,
        dtype=m.model.dtype,
        method=_method_words(made, settings) if made else None,
        settings=settings,
        compress_command=_command(made.get("command")),
        evaluate_command=_command(m.command),
        mode=m.mode,
        scale=m.scale,
        seed=m.seed,
        template=m.template,
        tokenizer_sha256=m.tokenizer_sha256,
        decoding=dict(m.decoding),
        seconds=m.seconds,
        machine=_machine(m.machine),
        packages={str(key): str(value) for key, value in m.packages.items()},
        task_hashes={
            name: {"version": t.version, "scorer": t.scorer, "prompts": t.prompts_sha256, "items": t.items_sha256}
            for name, t in m.tasks.items()
        },
    )


def _method_words(made: Mapping[str, Any], settings: Sequence[Mapping[str, Any]]) -> str:
    """`gptq (bits 4, group_size 128), stored as compressed-tensors`."""
    words = []
    for stage in settings:
        name = stage.get("method") or stage.get("name") or "?"
        inner = stage.get("settings") if isinstance(stage.get("settings"), Mapping) else stage
        told = [f"{key} {value}" for key, value in (inner or {}).items() if _worth_telling(key, value)]
        words.append(f"{name} ({', '.join(told)})" if told else str(name))
    if made.get("embeddings"):
        words.append(f"embeddings in {made['embeddings']} bits")
    stored = made.get("format")
    return (", then ".join(words) or "compressed") + (f", stored as {stored}" if stored else "")


def _worth_telling(key: str, value: object) -> bool:
    return key not in ("method", "name") and isinstance(value, str | int | float | bool)


def _command(argv: object) -> str | None:
    if isinstance(argv, list) and argv:
        return shlex.join(str(part) for part in argv)
    return None


def _machine(machine: Mapping[str, Any] | str | None) -> str | None:
    if machine is None or isinstance(machine, str):
        return machine
    return ", ".join(f"{key} {value}" for key, value in machine.items() if isinstance(value, str | int | float))


def matrices(run: Run) -> list[Matrix]:
    """The damage to each weight matrix, as the compression's manifest tells it; empty where it does not."""
    found = (run.manifest.compression or {}).get("matrices")
    if not isinstance(found, list):
        return []
    rows = []
    for one in found:
        if isinstance(one, Mapping) and isinstance(one.get("block"), int) and isinstance(one.get("kind"), str):
            rows.append(
                Matrix(
                    block=one["block"],
                    kind=one["kind"],
                    error=_number(one.get("relative_output_error")),
                    sparsity=_number(one.get("sparsity")),
                    bits_per_weight=_number(one.get("bits_per_weight")),
                )
            )
    return rows


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None


def health(joined: Joined, task: str) -> Health:
    """How the pairing of one task went and what its answers look like."""
    pair = joined.tasks[task]
    compared = pair.not_compared is None
    primary = pair.dense_result.metrics[pair.primary]
    marked = compared and primary.kind != "statistic"
    return Health(
        task=task,
        suite=pair.suite,
        n_paired=pair.n_paired,
        n_only_dense=pair.n_only_dense,
        n_only_compressed=pair.n_only_other,
        n_unscored=joined.measured(task).n_unscored if marked else 0,
        dense=_panel(pair.dense_result, pair.dense_rows, pair.dense.n_chars),
        compressed=_panel(pair.other_result, pair.other_rows, pair.other.n_chars),
        options_dense=pair.dense_result.options,
        options_compressed=pair.other_result.options,
        flips=_flips(joined, pair) if marked else None,
        divergence=divergence(pair) if compared else None,
        noise_flip_rate=noise_flip_rate(joined, task) if marked else None,
        collapse=joined.collapses.get(task),
        not_compared=pair.not_compared,
        notes=list(dict.fromkeys([*pair.dense_result.notes, *pair.other_result.notes, *_published(joined, pair)])),
    )


def _panel(result: TaskResult, rows: np.ndarray[Any, Any], n_chars: np.ndarray[Any, Any]) -> dict[str, float | None]:
    shares: dict[str, float | None] = {key: getattr(result.panel, key) for key in PANEL_SHARES}
    shares["mean_chars"] = float(n_chars[rows].mean()) if rows.size else None
    return shares


def _published(joined: Joined, pair: TaskPair) -> list[str]:
    """A note where the evaluation's own value is not the mean of the compared items' marks."""
    facts = pair.metric("primary")
    if facts is None or facts.kind == "statistic" or facts.value is None or pair.not_compared is not None:
        return []
    level = joined.measured(pair.name).dense
    said = abs(facts.value) if facts.kind == "gap" else facts.value
    if level is None or abs(level.value - said) <= 0.005 * max(1.0, abs(said)):
        return []
    return [
        f"the evaluation weighs items differently: it says {said:.4g} for dense, "
        f"the items compared here have a mean of {level.value:.4g}"
    ]


def _flips(joined: Joined, pair: TaskPair) -> dict[str, int] | None:
    measured = joined.measured(pair.name)
    if measured.difference is None or measured.difference.gained is None:
        return None
    dense, other = measured.dense_marks > 0.5, measured.compressed_marks > 0.5
    changed = pair.changed[measured.usable]
    wrong = ~dense & ~other
    return {
        "both_right": int((dense & other).sum()),
        "lost": int((dense & ~other).sum()),
        "gained": int((~dense & other).sum()),
        "both_wrong": int((wrong & ~changed).sum()),
        "other_wrong": int((wrong & changed).sum()),
    }


def divergence(pair: TaskPair) -> Divergence | None:
    """The distribution of items' divergences, or None where no likelihoods are stored."""
    found = divergences(pair)
    if found is None:
        return None
    values, over = found
    ordered = np.maximum(np.sort(values), 0.0)
    shares = np.linspace(0.0, 1.0, min(_CDF_POINTS, ordered.size))
    points = [(float(np.quantile(ordered, q, method="inverted_cdf")), float(q)) for q in shares]
    return Divergence(
        over=over,
        n=int(ordered.size),
        mean=float(ordered.mean()),
        median=float(np.median(ordered)),
        p99=float(np.quantile(ordered, 0.99)),
        p999=float(np.quantile(ordered, 0.999)),
        max=float(ordered[-1]),
        cdf=points,
    )
