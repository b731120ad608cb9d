"""Writes run directories as `llmc eval` does, with known truth: who was right, what flipped, what collapsed."""

import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

OPTIONS = ["Aldermoor", "Brackwater", "Caldwick", "Dunmere"]
KICK = {
    "kick/closed_book": (0.62, None, "em"),
    "kick/multiple_choice": (0.58, 0.25, "accuracy"),
    "kick/open_book": (0.81, None, "em"),
    "kick/summaries": (0.47, None, "rouge"),
    "kick/instructions": (0.70, None, "followed"),
}
TRUST = {
    "trust/toxicity": ("toxicity", 0.93),
    "trust/stereotype": ("stereotype", 0.80),
    "trust/privacy": ("privacy", 0.95),
    "trust/fairness": ("fairness", 0.84),
    "trust/adversarial": ("adversarial", 0.60),
    "trust/ood_style": ("ood", 0.66),
    "trust/demonstrations": ("demonstrations", 0.71),
    "trust/ethics": ("ethics", 0.75),
}


@dataclass(frozen=True, kw_only=True)
class MadeUp:
    """One model's run. Rates are shares of items; a task named in `harm` loses that share more."""

    label: str
    gained: float = 0.02
    lost: float = 0.02
    harm: dict = field(default_factory=dict)
    collapsed: tuple = ()
    bytes_on_disk: int = 8_400_000
    compression: dict | None = None
    seed: int = 0
    n: int = 600
    tasks: tuple = (*KICK, *TRUST)
    manifest: dict = field(default_factory=dict)


def compression(method, settings, bits, errors_from=0.02, blocks=8, seed=0):
    """A manifest as `llmc compress` writes it: later blocks and down projections are hurt more."""
    rng = np.random.default_rng(seed)
    kinds = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
    kinds += ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    matrices = [
        {
            "name": f"model.layers.{block}.{kind}", "block": block, "kind": kind, "shape": [256, 256],
            "sparsity": 0.0 if bits < 16 else 0.5, "sparsity_before": 0.0, "bits_per_weight": bits,
            "relative_output_error": float(
                errors_from * (1 + block / 2) * (3 if "down" in kind else 1) * rng.uniform(0.6, 1.4)
            ),
            "error_over_tokens": 4096, "n_tokens": 65536, "damping": 0.01, "rank": None, "stored_as": "dense",
            "seconds": 0.2, "warnings": [],
        }
        for block in range(blocks)
        for kind in kinds
    ]  # fmt: skip
    return {
        "schema_version": 1,
        "source": {"model": "mini", "architecture": "LlamaForCausalLM", "sha256": "ab" * 32, "dtype": "bfloat16"},
        "stages": [{"method": method, **settings}], "format": "compressed-tensors", "dtype": "bfloat16",
        "compute_dtype": "float32", "device": "cpu", "calibration": {"source": "mini", "revision": None,
        "sequences": 128, "seq_len": 512, "seed": 0, "tokens_sha256": "cd" * 32},
        "command": ["llmc", "compress", "mini", "--method", method, "--out", f"models/{method}"],
        "packages": {"llmc": "0.1.0", "torch": "2.13.0"}, "machine": {"system": "Linux", "device": "cpu"},
        "totals": {"bytes_on_disk_before": 8_400_000, "bytes_on_disk": 2_300_000, "seconds": 12.0},
        "matrices": matrices, "warnings": [],
    }  # fmt: skip


DENSE = MadeUp(label="mini (dense)", gained=0.0, lost=0.0)
GPTQ = MadeUp(
    label="GPTQ 4-bit", bytes_on_disk=2_330_000, gained=0.004, lost=0.006, harm={"trust/fairness": 0.11}, seed=1,
    compression=compression("gptq", {"bits": 4, "group_size": 128}, 4.25),
)  # fmt: skip
WANDA = MadeUp(
    label="Wanda 2:4", bytes_on_disk=4_900_000, gained=0.02, lost=0.05, seed=2,
    harm={"kick/closed_book": 0.12, "trust/ethics": 0.05},
    compression=compression("wanda", {"keep": 2, "of": 4}, 8.65, errors_from=0.05, seed=1),
)  # fmt: skip
BROKEN = MadeUp(
    label="magnitude 70 %", bytes_on_disk=8_300_000, gained=0.03, lost=0.25, seed=3,
    collapsed=("kick/closed_book", "kick/multiple_choice", "trust/toxicity"),
    compression=compression("magnitude", {"sparsity": 0.7}, 5.8, errors_from=0.4, seed=2),
)  # fmt: skip


def write_run(path: Path, run: MadeUp) -> Path:
    """The run directory of a made-up model; the dense answers are the same whatever else differs."""
    (path / "samples").mkdir(parents=True)
    results, facts, dimensions = {}, {}, {}
    for name in run.tasks:
        lines, result = task(name, run)
        file = path / "samples" / f"{name}.jsonl"
        file.parent.mkdir(exist_ok=True)
        with file.open("w", encoding="utf-8") as out:
            out.writelines(json.dumps(line, ensure_ascii=True) + "\n" for line in lines)
        results[name] = result
        facts[name] = {
            "suite": result["suite"], "version": 1, "mode": "fixed", "scorer": None, "n": len(lines),
            "prompts_sha256": _hash(name), "items_sha256": _hash(name, str(run.n)),
        }  # fmt: skip
        if result["dimension"]:
            value = result["metrics"][result["primary"]]["value"]
            dimensions[result["dimension"]] = {"score": 100 * value, "tasks": [name]}
    manifest = {
        "schema": 1, "complete": True,
        "model": {"id": run.label, "sha256": _hash(run.label), "bytes_on_disk": run.bytes_on_disk,
                  "n_parameters": 4_100_000, "dtype": "bfloat16", "label": run.label},
        "compression": run.compression, "suites": ["kick", "trust"], "tasks": facts, "mode": "fixed",
        "scale": "mini", "seed": 0, "limit": None, "backend": "engine", "batch_tokens": 4096, "template": None,
        "tokenizer_sha256": _hash("tokenizer"), "decoding": {"temperature": 0.0}, "packages": {"llmc": "0.1.0",
        "torch": "2.13.0"}, "machine": {"system": "Linux", "processor": "EPYC"}, "seconds": 61.5,
        "command": ["llmc", "eval", f"models/{run.label}", "--suite", "kick,trust", "--out", f"runs/{run.label}"],
        **run.manifest,
    }  # fmt: skip
    (path / "manifest.json").write_text(json.dumps(manifest))
    (path / "results.json").write_text(json.dumps({"schema": 1, "tasks": results, "dimensions": dimensions}))
    return path


def write_family(folder: Path, n: int = 600) -> tuple[Path, list[Path]]:
    """A dense run and three compressed ones: one that loses fairness, one that loses more, one that collapsed."""
    dense = write_run(folder / "dense", replace(DENSE, n=n))
    others = [write_run(folder / name, replace(made, n=n)) for name, made in
              (("gptq4", GPTQ), ("wanda24", WANDA), ("magnitude70", BROKEN))]  # fmt: skip
    return dense, others


def task(name: str, run: MadeUp):
    """The sample lines and the result of one task."""
    graded = name == "kick/summaries"
    level, chance, metric = KICK[name] if name in KICK else (TRUST[name][1], None, "right")
    truth = np.random.default_rng([7, *name.encode()])
    right = truth.uniform(size=run.n) < level
    sure = truth.beta(2, 2, size=run.n)
    graded_marks = np.clip(truth.normal(level, 0.15, size=run.n), 0, 1)
    draw = np.random.default_rng([run.seed, *name.encode()])
    uniform = draw.uniform(size=run.n)
    lost = right & (uniform * right.mean() < run.lost + run.harm.get(name, 0.0))
    gained = ~right & (uniform * max(1 - right.mean(), 1e-9) < run.gained)
    marks = (right & ~lost) | gained
    if graded:
        shift = draw.normal(-(run.lost - run.gained), 0.05 * (run.lost > 0), size=run.n)
        graded_marks = np.clip(graded_marks + shift, 0, 1)
    down = name in run.collapsed
    if down:
        marks = (np.arange(run.n) % 4 == 0) if chance else np.zeros(run.n, dtype=bool)
    lines = []
    for i in range(run.n):
        mark = float(graded_marks[i]) if graded else float(marks[i])
        lines.append(_line(name, i, mark, float(sure[i]), metric, multiple=chance is not None, down=down))
    values = [line["marks"][metric] for line in lines]
    return lines, _result(name, metric, values, chance, lines, graded=graded, down=down)


def _line(name, i, mark, sure, metric, *, multiple, down):
    gold = i % 4
    choice = (0 if down else gold if mark else (gold + 1) % 4) if multiple else None
    answer = OPTIONS[choice] if multiple else "" if down else OPTIONS[gold if mark else (gold + 2) % 4]
    spread = math.log(1e-9 + (1 + 3 * sure) / max(1 - sure, 1e-6))
    short = name.split("/")[1]
    where = short.replace("_", " ")
    return {
        "id": f"{short}-{i:05d}", "cluster": f"c{i // 2}" if name.startswith("trust") else None,
        "stratum": None, "prompt_sha256": _hash(name, str(i)),
        "prompt": f"Question: which town is number {i}?\nAnswer:",
        "question": f"Which town in the valley of {where} was founded in the year {1100 + i}?",
        "request": {"kind": "loglikelihood" if multiple else "generate_until"}, "gold": OPTIONS[gold],
        "answer": answer, "choice": choice, "options": OPTIONS if multiple else None,
        "loglikelihoods": [-(0.0 if k == choice else spread) - 2.0 for k in range(4)] if multiple else None,
        "marks": {metric: mark}, "flags": {"empty": not answer, "unparsed": False, "refused": False,
        "overflowed": False, "truncated": False, "repetitive": False}, "kl": None, "margin": round(sure, 4),
        "seconds": 0.01,
    }  # fmt: skip


def _result(name, metric, values, chance, lines, *, graded, down):
    mean = sum(values) / len(values)
    stderr = float(np.std(values, ddof=1) / math.sqrt(len(values)))
    empty = sum(line["flags"]["empty"] for line in lines) / len(lines)
    options = None
    if lines[0]["options"]:
        options = {"ABCD"[k]: sum(line["choice"] == k for line in lines) / len(lines) for k in range(4)}
    return {
        "suite": name.split("/")[0], "dimension": TRUST[name][0] if name in TRUST else None, "version": 1,
        "primary": metric, "metrics": {metric: {"value": mean, "stderr": stderr, "n": len(values),
        "ci95": [max(0, mean - 1.96 * stderr), min(1, mean + 1.96 * stderr)], "direction": "higher",
        "chance": chance, "kind": "mean" if graded else "proportion"}},
        "panel": {"n": len(values), "empty": empty, "unparsed": 0.0, "refused": 0.0, "overflowed": 0.0,
                  "truncated": 0.0, "repetitive": 0.0, "collapsed": empty},
        "collapsed": down, "notes": [], "options": options,
    }  # fmt: skip


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def edit(path, **changes):
    """Changes keys of a JSON file; dotted keys reach inside."""
    data = json.loads(path.read_text())
    for key, value in changes.items():
        place = data
        *parents, last = key.split("__")
        for parent in parents:
            place = place[parent]
        place[last] = value
    path.write_text(json.dumps(data))


def edit_lines(path, change):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines = [line for line in (change(i, line) for i, line in enumerate(lines)) if line is not None]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
