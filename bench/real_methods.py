"""Every method and format on a real model: seconds, bytes, nats a token, and plain transformers' logits.

    python bench/real_methods.py DIR --data-root ../shared/data [--samples 8] [--windows 8]

DIR: a dense checkpoint, as `bench/real_models.py` makes. Windows of 256 tokens of WikiText-2's test split (its first
60,000 characters); calibration on `--samples` sequences of 256 tokens of C4. "same logits": what stock
`from_pretrained` gives on the first window against `llmc.load`; "-" where that format has no stock loader.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

os.environ["HF_HUB_OFFLINE"] = "1"
G = {"group_size": 64}
JOBS: tuple[tuple[str, dict[str, Any], str | None], ...] = (
    ("magnitude", {"sparsity": 0.5}, None),
    ("wanda", {"sparsity": 0.5}, None),
    ("wanda", {"pattern": "2:4"}, None),
    ("sparsegpt", {"sparsity": 0.5}, None),
    ("sparsegpt", {"pattern": "2:4"}, None),
    ("rtn", {"bits": 8, **G}, None),
    ("rtn", {"bits": 4, **G}, None),
    ("rtn", {"bits": 4, **G}, "gptq"),
    ("rtn", {"bits": 4, **G, "symmetric": False}, "gptq_v2"),
    ("rtn", {"bits": 4, **G, "symmetric": False}, "awq"),
    ("gptq", {"bits": 4, **G}, None),
    ("gptq", {"bits": 4, **G}, "gptq"),
    ("gptq", {"bits": 3, **G}, None),
    ("awq", {"bits": 4, **G}, None),
    ("awq", {"bits": 4, **G, "symmetric": False}, "awq"),
    ("svd", {"rank_ratio": 0.6}, None),
    ("svd", {"rank_ratio": 0.6}, "factors"),
)
"""Method, settings, format (None: the one that `llmc compress` takes)."""


def windows_of(tokenizer: Any, root: Path, n: int, length: int = 256) -> Tensor:
    """(n, length) tokens, each row behind what the tokenizer puts before a text."""
    import pyarrow.parquet as pq

    file = sorted((root / "wikitext2").rglob("*test*"))[0]
    text = "\n\n".join(pq.read_table(file)["text"].to_pylist()) if file.suffix == ".parquet" else file.read_text()
    tokens = tokenizer(text[:60000], add_special_tokens=False)["input_ids"]
    lead = [tokenizer.bos_token_id] if tokenizer("x")["input_ids"][0] == tokenizer.bos_token_id else []
    room = length - len(lead)
    return torch.tensor([lead + tokens[i * room : (i + 1) * room] for i in range(n)])


@torch.no_grad()
def nats(model: nn.Module, windows: Tensor) -> float:
    """Nats a token, the mean over windows."""
    found = [
        torch.nn.functional.cross_entropy(model(input_ids=row[None]).logits[0, :-1].float(), row[1:]) for row in windows
    ]
    return float(torch.stack(found).mean())


def stock(out: Path, fmt: str, asymmetric: bool, prompt: Tensor, wanted: Tensor) -> str:
    """Whether plain transformers gives the same logits."""
    from transformers import AutoModelForCausalLM, CompressedTensorsConfig

    if fmt not in ("dense", "compressed-tensors"):
        return "-"
    config = {"quantization_config": CompressedTensorsConfig(dequantize=True)} if asymmetric and fmt != "dense" else {}
    try:
        model, info = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True, dtype=torch.float32, **config)
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:80]}"
    lost = sum(len(names) for names in info.values())
    with torch.no_grad():
        off = float((model(input_ids=prompt).logits.float() - wanted).abs().max())
    return f"{'yes' if off < 1e-3 else 'NO'} ({off:.1g}; {lost} missing or unread)"


def size(directory: Path) -> str:
    """Bytes of the weights."""
    return f"{sum(path.stat().st_size for path in directory.glob('*.safetensors')) / 1e6:.1f} MB"


def main() -> None:
    from llmc.compress.plan import Job
    from llmc.compress.recipe import build
    from llmc.compress.run import compress
    from llmc.data.calibration import calibrate
    from llmc.models.load import load_model, load_tokenizer, quiet

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--windows", type=int, default=8)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    quiet()
    tokenizer = load_tokenizer(asked.model)
    windows = windows_of(tokenizer, asked.data_root, asked.windows)
    text = next(p for p in sorted((asked.data_root / "c4").rglob("*")) if p.suffix in (".jsonl", ".parquet", ".txt"))
    calibration = calibrate(tokenizer, str(text), samples=asked.samples, seq_len=256, seed=0)
    dense = load_model(asked.model, dtype=torch.float32)
    print("| method | format | seconds | weights | nats a token | same logits in plain transformers |")
    print("|---|---|---|---|---|---|")
    print(f"| dense | dense | | {size(asked.model)} | {nats(dense, windows):.4f} | |", flush=True)
    del dense
    for method, settings, fmt in JOBS:
        said = " ".join(str(value) for value in (method, *settings.values()))
        with tempfile.TemporaryDirectory() as folder:
            out, begun = Path(folder) / "out", time.perf_counter()
            try:
                compress(
                    Job(
                        model=asked.model,
                        out=out,
                        stages=(build(method, settings),),
                        calibration=calibration,
                        format=fmt,
                    ),
                    lambda *_: None,
                )
            except Exception as error:
                print(f"| {said} | {fmt or ''} | {type(error).__name__}: {str(error)[:120]} | | | |", flush=True)
                continue
            spent = time.perf_counter() - begun
            model = load_model(out, dtype=torch.float32)
            loss, prompt = nats(model, windows), windows[:1, :64]
            with torch.no_grad():
                logits = model(input_ids=prompt).logits.float()
            del model
            gc.collect()
            found = json.loads((out / "llmc_manifest.json").read_text())["format"]
            same = stock(out, found, settings.get("symmetric") is False, prompt, logits)
            print(f"| {said} | {found} | {spent:.0f} | {size(out)} | {loss:.4f} | {same} |", flush=True)


if __name__ == "__main__":
    main()
