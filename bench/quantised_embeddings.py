"""Size and loss of checkpoints, the first one dense: python bench/quantised_embeddings.py TEXT DIR… (docs/formats.md).

The loss is in nats a token over the first windows of TEXT, each begun with the tokenizer's BOS where it has one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from llmc.models.checkpoint import Checkpoint
from llmc.models.load import load_model, load_tokenizer, quiet


def windows(directory: Path, text: str, n: int, length: int) -> torch.Tensor:
    """Token ids (n, length)."""
    tokenizer = load_tokenizer(directory)
    begin = [tokenizer.bos_token_id] if tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id else []
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    step = length - len(begin)
    return torch.tensor([begin + ids[i * step : (i + 1) * step] for i in range(n)])


@torch.no_grad()
def losses(directory: Path, tokens: torch.Tensor) -> torch.Tensor:
    """Nats a token of each window, in float32. Shapes: tokens (n, length); result (n,)."""
    model = load_model(directory, dtype=torch.float32, kernels="dense")
    found = []
    for row in tokens:
        logits = model(input_ids=row[None], use_cache=False).logits[0, :-1]
        found.append(torch.nn.functional.cross_entropy(logits, row[1:]))
    return torch.stack(found)


def main() -> None:
    """Prints one line a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path)
    parser.add_argument("directories", type=Path, nargs="+")
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--length", type=int, default=512)
    asked = parser.parse_args()
    quiet()
    first = asked.directories[0]
    tokens = windows(first, asked.text.read_text(encoding="utf-8"), asked.windows, asked.length)
    size, dense = Checkpoint(first).n_bytes, None
    for directory in asked.directories:
        now, found = Checkpoint(directory).n_bytes, losses(directory, tokens)
        dense = found if dense is None else dense
        mean, more = float(found.mean()), float((found - dense).mean())
        print(
            f"{directory.name}: {now / 1e6:.1f} MB, {size / now:.2f} x smaller, {mean:.3f} nats a token, "
            f"perplexity {torch.tensor(mean).exp():.2f}, {more:+.3f} nats",
            flush=True,
        )


if __name__ == "__main__":
    main()
