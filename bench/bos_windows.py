"""What a missing beginning-of-text costs a model that expects one: nats a token of windows with it and without.

    python bench/bos_windows.py MODEL TEXT [--window 256] [--windows 4]

Plain transformers forwards in float32, no part of the engine. With it, the token takes the place of the window's last.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--windows", type=int, default=4)
    args = parser.parse_args()
    words = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    ids = words.encode(args.text.read_text()[: 32 * args.window * args.windows], add_special_tokens=False)

    @torch.no_grad()
    def nats(tokens: list[int]) -> float:
        given = torch.tensor([tokens])
        scores = model(given).logits[0, :-1].log_softmax(-1)
        return float(-scores.gather(1, given[0, 1:, None]).mean())

    for i in range(args.windows):
        cut = ids[i * args.window : (i + 1) * args.window]
        print(f"window {i}: {nats(cut):.3f} without, {nats([words.bos_token_id, *cut[:-1]]):.3f} with")


if __name__ == "__main__":
    main()
