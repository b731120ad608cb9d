"""What the embedded model knows when magnitude pruning takes weights away: `python bench/train_world/check.py MODEL`.

Prunes with its own three lines, so that it depends on no method of llmc's.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from llmc.data.world.items import mini_items

Logits = Callable[[Tensor], Tensor]
"""ids (rows, tokens) to logits of every position (rows, tokens, vocabulary)"""


class Checker:
    """Accuracy on the mini tasks, greedy or by likelihood, without padding: prompts of one length run together."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, *, limit: int | None = None) -> None:
        self.tokenizer = tokenizer
        self.limit = limit
        self.items = {t: mini_items(t) for t in TASKS}

    def quick(self, model: nn.Module) -> dict[str, float]:
        """The scores that tell most of a training model whose output matrix is its embedding."""
        names = ("factoid", "open_unseen", "choice_letter", "summary", "orders")
        return self.scores(lambda ids: F.linear(model(ids), model.embed.weight), names)  # type: ignore[arg-type]

    @torch.no_grad()
    def scores(self, logits: Logits, names: Sequence[str] = ()) -> dict[str, float]:
        """{score: share right, or perplexity}; all scores where `names` is empty."""
        items = self.some("multiple_choice_qa")
        ways: dict[str, Callable[[], float]] = {
            "perplexity": lambda: self.perplexity(logits),
            "factoid": lambda: self.greedy(logits, self.some("factoid_qa")),
            "choice_letter": lambda: self.pick(logits, items, "prompt", letters=True),
            "choice_text": lambda: self.pick(logits, items, "prompt_text", letters=False),
            "summary": lambda: self.greedy(logits, self.spread("summarization"), n_new=24),
            "orders": lambda: self.greedy(logits, self.spread("instruction_following"), n_new=24),
        }
        for stratum in ("unseen", "known", "absent"):
            for kind in ("open", "closed"):
                ways[f"{kind}_{stratum}"] = partial(self.read, logits, kind, stratum)
        return {name: round(way(), 4) for name, way in ways.items() if not names or name in names}

    def read(self, logits: Logits, kind: str, stratum: str) -> float:
        items = [i for i in self.items[f"retrieval_qa_{kind}"] if i["stratum"] == stratum]
        return self.greedy(logits, items[: self.limit])

    def some(self, task: str) -> list[dict[str, Any]]:
        return self.items[task][: self.limit]

    def spread(self, task: str) -> list[dict[str, Any]]:
        items = self.items[task]
        return items[:: max(1, len(items) // self.limit)] if self.limit else items

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def last_logits(self, logits: Logits, prompts: Sequence[list[int]]) -> list[Tensor]:
        """The logits behind each prompt."""
        by_length = defaultdict(list)
        for index, prompt in enumerate(prompts):
            by_length[len(prompt)].append(index)
        out: list[Tensor] = [torch.empty(0)] * len(prompts)
        for indices in by_length.values():
            rows = logits(torch.tensor([prompts[i] for i in indices]))[:, -1]
            for index, row in zip(indices, rows, strict=True):
                out[index] = row
        return out

    def greedy(self, logits: Logits, items: Sequence[dict[str, Any]], n_new: int = 6) -> float:
        """Share of items whose greedy continuation up to a newline is a gold string."""
        prompts = [self.encode(i["prompt"]) for i in items]
        answers: list[list[int]] = [[] for _ in items]
        newline = self.encode("\n")[0]
        going = list(range(len(items)))
        for _ in range(n_new):
            best = [int(row.argmax()) for row in self.last_logits(logits, [prompts[i] + answers[i] for i in going])]
            for index, token in zip(going, best, strict=True):
                answers[index].append(token)
            going = [i for i in going if answers[i][-1] not in (newline, self.tokenizer.eos_token_id)]
            if not going:
                break
        texts = [self.tokenizer.decode(a).split("\n")[0].strip() for a in answers]
        return sum(t in i["gold"] for t, i in zip(texts, items, strict=True)) / len(items)

    def pick(self, logits: Logits, items: Sequence[dict[str, Any]], prompt: str, *, letters: bool) -> float:
        """Share of items whose likeliest option, per whole option and newline, is the right one."""
        right = 0
        for item in items:
            options = [f" {'ABCD'[i] if letters else text}\n" for i, text in enumerate(item["choices"])]
            context = self.encode(item[prompt])
            scores = []
            tails = [self.encode(option) for option in options]
            longest = max(map(len, tails))
            # Causal: padding behind an option can't change its likelihood.
            rows = torch.tensor([context + tail + [0] * (longest - len(tail)) for tail in tails])
            logp = logits(rows)[:, len(context) - 1 : -1].log_softmax(-1)
            for row, tail in enumerate(tails):
                scores.append(float(logp[row, range(len(tail)), tail].sum()))
            right += scores.index(max(scores)) == item["gold_index"]
        return right / len(items)

    def perplexity(self, logits: Logits) -> float:
        """exp of the mean loss a token, each document behind the end token."""
        total, count = 0.0, 0
        for item in self.some("perplexity"):
            ids = torch.tensor([[self.tokenizer.eos_token_id, *self.encode(item["context"])]])
            losses = F.cross_entropy(logits(ids[:, :-1])[0], ids[0, 1:], reduction="sum")
            total, count = total + float(losses), count + ids.shape[1] - 1
        return math.exp(total / count)


TASKS = (
    "factoid_qa",
    "multiple_choice_qa",
    "retrieval_qa_closed",
    "retrieval_qa_open",
    "summarization",
    "instruction_following",
    "perplexity",
)


def _logits(model: nn.Module, ids: Tensor) -> Tensor:
    logits: Tensor = model(input_ids=ids).logits
    return logits


def prune(model: nn.Module, sparsity: float) -> None:
    """Zeroes the smallest weights of each matrix inside the decoder blocks, in place."""
    for module in model.model.layers.modules():  # type: ignore[union-attr]
        if isinstance(module, nn.Linear):
            size = module.weight.abs().flatten()
            cut = size.sort().values[int(sparsity * size.numel()) - 1] if sparsity > 0 else -1.0
            module.weight.data[module.weight.abs() <= cut] = 0.0


def table(path: str, limit: int | None, sparsities: Sequence[float]) -> None:
    """Prints one line a sparsity."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    dense = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    checker = Checker(tokenizer, limit=limit)
    for sparsity in sparsities:
        model = copy.deepcopy(dense)
        prune(model, sparsity)
        found = checker.scores(partial(_logits, model))
        print(json.dumps({"sparsity": sparsity, **found}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--sparsities", type=float, nargs="+", default=[0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table(arguments.model, arguments.limit, arguments.sparsities)
