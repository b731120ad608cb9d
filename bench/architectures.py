"""Which architectures of this transformers work: each one's small copy is compressed, written, loaded and evaluated.

`python -m bench.architectures --write` makes docs/architectures.md (about 15 minutes on two cores). A copy runs in a
process of its own with a time limit. "works": every block's output after loading in plain transformers is the walk's
(within 0.1 %), and the engine's log-likelihoods are those of plain forwards (within 1e-4 nats a token).
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import platform
import queue
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from llmc.compress.plan import plan
from llmc.compress.recipe import build
from llmc.compress.run import compress_untried
from llmc.compress.trial import compare
from llmc.errors import UserError
from llmc.evaluate.engine.likelihood import score, target
from llmc.evaluate.engine.network import Network
from llmc.models.config import decoder_config
from llmc.models.shrink import small_model, small_tokens

DOCS = Path(__file__).parents[1] / "docs" / "architectures.md"
METHODS = {
    "wanda": {"sparsity": 0.5},
    "gptq": {"bits": 4, "group_size": -1},
    "awq": {"bits": 4, "group_size": -1},
}
NATS = 1e-4
SETTINGS: dict[str, dict[str, Any]] = {
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "hunyuan_v1_dense": {"head_dim": 16},
    "hunyuan_v1_moe": {"head_dim": 16, "num_experts": 4, "moe_topk": 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv", "full_attention"], "num_hidden_layers": 4},
    "ministral": {"head_dim": 16},
    "nemotron": {"num_key_value_heads": 4},
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}},
    "qwen4_exp_text": {
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 128,
        "indexer_budget": 8,
        "indexer_compress_ratio": 4,
    },
}  # fmt: skip
"""What the defaults of a configuration class leave open or set so that no decoder comes of it."""

_ENCODERS = [
    "bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra",
    "ernie", "megatron-bert", "reformer", "rembert", "roberta", "roberta-prelayernorm",
    "roc_bert", "roformer", "xlm-roberta", "xlm-roberta-xl", "xmod",
]  # fmt: skip
"""Decoders only where the configuration says so."""


def _config(kind: str) -> PretrainedConfig:
    decoder = {"is_decoder": True} if kind in _ENCODERS else {}
    return CONFIG_MAPPING[kind](**SETTINGS.get(kind, {}), **decoder)


def tried(kind: str) -> dict[str, str]:
    """What became of one architecture, by method and for the engine."""
    try:
        model = small_model(_config(kind))
        tokens = small_tokens(model.config)
        with torch.no_grad():
            model(input_ids=tokens, use_cache=False)
    except Exception as error:
        return dict.fromkeys([*METHODS, "engine"], f"not tried: its defaults make no model ({_line(error)})")
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for method, settings in METHODS.items():
            place = Path(folder) / method
            try:
                model.save_pretrained(place / "dense")
                decoder_config(place / "dense")
                stages, perform = (build(method, settings),), lambda job: compress_untried(job, *plan(job))
                compare(place, stages, tokens, perform, check=True)
                found[method] = "works"
            except UserError as error:
                found[method] = f"refused: {error.problem}".replace(str(place / "dense"), "it")
            except Exception as error:
                found[method] = f"refused: a small copy can't be compressed ({_line(error)})"
    try:
        found["engine"] = _engine(model)
    except UserError as error:
        found["engine"] = f"refused: {error.problem}"
    except Exception as error:
        found["engine"] = f"CRASH: {type(error).__name__}: {_line(error)}"
    return found


def _engine(model: Any) -> str:
    """Log-likelihoods of rows that share beginnings, of several lengths, against one plain forward each."""
    generator = torch.Generator().manual_seed(1)

    def some(n: int) -> list[int]:
        return torch.randint(3, 120, (n,), generator=generator).tolist()

    first = some(40)
    beginnings = [first, first[:30] + some(13), some(2)]
    targets = [target(beginnings[i % 3], some(3 + i * 5 % 17), 100) for i in range(14)]
    network = Network(model)
    got = {i: each.loglikelihood for batch in score(network, targets, 256) for i, each in batch}
    worst = 0.0
    for i, each in enumerate(targets):
        with torch.no_grad():
            logits = network.model(input_ids=torch.tensor([each.row()]), use_cache=False).logits[0].log_softmax(-1)
        scored = each.tokens[-each.n_scored :]
        wanted = sum(float(logits[k - each.n_scored, token]) for k, token in enumerate(scored))
        worst = max(worst, abs(wanted - got[i]) / each.n_scored)
    if not worst < NATS:
        return f"WRONG: {worst:.1e} nats a token off"
    return "works" if network.why_not_shared is None else f"works, without sharing: {network.why_not_shared}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


def _quiet(kind: str, answers: Any) -> None:
    logging.disable(logging.CRITICAL)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    answers.put(tried(kind))


def _in_a_process(kind: str, limit: float) -> dict[str, str]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.architectures"])  # what all import is imported once
    answers = context.Queue()
    process = context.Process(target=_quiet, args=(kind, answers))
    process.start()
    try:
        found: dict[str, str] = answers.get(timeout=limit)
    except queue.Empty:
        found = dict.fromkeys([*METHODS, "engine"], f"not tried: no result within {limit:.0f} s")
    process.terminate()
    process.join()
    return found


def table(results: dict[str, dict[str, str]]) -> str:
    """The page: how many work, a row an architecture, and the reasons of those that don't."""
    columns = [*METHODS, "engine"]
    whole = sum(all(r[c].startswith("works") for c in columns) for r in results.values())
    counts = {c: Counter(r[c].partition(":")[0].partition(",")[0] for r in results.values()) for c in columns}
    reasons: dict[str, int] = {}
    rows = []
    for kind, found in results.items():
        cells = []
        for column in columns:
            state, _, reason = found[column].partition(": ")
            state = state.partition(",")[0]
            mark = f" [{reasons.setdefault(reason, len(reasons) + 1)}](#reasons)" if reason else ""
            cells.append(state + mark)
        rows.append(f"| {kind} | {MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[kind]} | {' | '.join(cells)} |")
    summary = "; ".join(f"{c}: {', '.join(f'{n} {s}' for s, n in counts[c].most_common())}" for c in columns)
    notes = [f"{n}. {_escaped(reason)}" for reason, n in reasons.items()]
    return "\n".join([
        "# Architectures",
        "",
        "Made by `python -m bench.architectures --write` with transformers "
        f"{transformers.__version__}, torch {torch.__version__}, Python {platform.python_version()}.",
        "",
        "Every causal language model class of transformers, each as a small random copy (the class, switches and",
        "kinds of blocks of its default configuration; narrow, few blocks). *works* for a method: compressed, written",
        "as a dense checkpoint, loaded by plain transformers, each block's output the walk's within 0.1 %. *works* for",
        "the engine: log-likelihoods of rows that share beginnings, some longer than every window, within 1e-4 nats a",
        "token of plain forwards. A small random copy shows that the code is right, not how good a result is;",
        "options that a default configuration leaves off are not covered: so each job tries a copy of its own first.",
        "",
        f"**{whole} of {len(results)} work in every column.** {summary}.",
        "",
        f"| type | class | {' | '.join(columns)} |",
        f"|---|---|{'---|' * len(columns)}",
        *rows,
        "",
        "## Reasons",
        "",
        *notes,
        "",
    ])  # fmt: skip


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


def main() -> None:
    """Tries all (or `--only` some) and prints a line each; with --write renews the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="types, with commas between")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    parser.add_argument("--limit", type=float, default=240, help="seconds a type may take")
    parser.add_argument("--results", type=Path, help="a file of results to go on from and add to (JSON lines)")
    parser.add_argument("--write", action="store_true", help=f"write {DOCS.name}")
    given = parser.parse_args()
    kinds = given.only.split(",") if given.only else list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    known: dict[str, dict[str, str]] = {}
    if given.results and given.results.exists():
        known = dict(json.loads(line) for line in given.results.read_text().splitlines())
    todo = [kind for kind in kinds if kind not in known]
    with ThreadPoolExecutor(given.jobs) as pool:
        for kind, found in zip(todo, pool.map(lambda k: _in_a_process(k, given.limit), todo), strict=True):
            known[kind] = found
            print(kind, found, flush=True)
            if given.results:
                with given.results.open("a") as file:
                    file.write(json.dumps([kind, found]) + "\n")
    results = {kind: known[kind] for kind in kinds}
    bad = [k for k, r in results.items() if any(v.startswith(("WRONG", "CRASH")) for v in r.values())]
    if given.write:
        DOCS.write_text(table(results))
    print(f"wrong or crashed: {', '.join(bad) or 'none'}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
