"""One compression by llm-compressor's oneshot, in its own environment; prints times and peak memory as JSON."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

START = time.perf_counter()

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from llmcompressor import __version__, oneshot  # noqa: E402
from process_cost import cpu_s, peak_rss  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

IMPORTED = time.perf_counter()


def recipe(method: str) -> object:
    """The modifier with the settings that ours are compared with."""
    if method == "gptq":
        from llmcompressor.modifiers.quantization import GPTQModifier

        return GPTQModifier(targets="Linear", scheme="W4A16", ignore=["lm_head"])
    from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier

    kind = {"wanda": WandaPruningModifier, "sparsegpt": SparseGPTModifier}[method]
    return kind(sparsity=0.5, mask_structure="0:0", targets=["Linear"], ignore=["re:.*lm_head"])


def main() -> None:
    """Loads, compresses and saves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("method")
    parser.add_argument("tokens", type=Path)
    args = parser.parse_args()
    tokens = load_file(args.tokens)["tokens"]
    rows = {"input_ids": tokens.tolist(), "attention_mask": torch.ones_like(tokens).tolist()}
    data = Dataset.from_dict(rows)
    busy = cpu_s()
    start = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    loaded = time.perf_counter()
    oneshot(
        model=model,
        tokenizer=tokenizer,
        dataset=data,
        recipe=recipe(args.method),
        max_seq_length=tokens.shape[1],
        num_calibration_samples=len(tokens),
        shuffle_calibration_samples=False,
    )
    compressed = time.perf_counter()
    model.save_pretrained(args.out, save_compressed=args.method == "gptq")
    tokenizer.save_pretrained(args.out)
    saved = time.perf_counter()
    print(
        json.dumps(
            {
                "import_s": IMPORTED - START,
                "whole_s": saved - start,
                "core_s": compressed - loaded,
                "cpu_s": cpu_s() - busy,
                "peak_rss": peak_rss(),
                "threads": torch.get_num_threads(),
                "dtype": str(model.dtype).removeprefix("torch."),
                "version": __version__,
            }
        )
    )


if __name__ == "__main__":
    main()
