"""Trains the embedded model's tokenizer: byte-level BPE on the world's own text, so that most words are one token."""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from llmc.data.world import words
from llmc.data.world.lessons import draw
from llmc.data.world.people import world
from llmc.data.world.planted import vocabulary

END = "<|end|>"


def texts(shares: Mapping[str, float], n: int) -> Iterator[str]:
    """`n` lessons as plain text."""
    rng = random.Random(1)
    for _ in range(n):
        yield "".join(piece for piece, _ in draw(shares, rng, 0.5))
    names = [*world().given, *world().family]
    every_word = [*names, *vocabulary(), *words.THINGS, *(value for pool in world().pools.values() for value in pool)]
    yield from [f" {word}" for word in every_word] * 3000


def train(shares: Mapping[str, float], vocabulary: int, n_lessons: int = 60_000) -> Tokenizer:
    """A tokenizer with `vocabulary` entries, every byte among them, so that any text can be written in it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(shares, n_lessons), trainer)
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path, context: int) -> None:
    """Writes the files that `AutoTokenizer.from_pretrained(folder)` reads."""
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END,
        eos_token=END,
        pad_token=END,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config = {key: value for key, value in config.items() if key not in ("backend", "is_local", "local_files_only")}
    # The name that transformers 4 and other programs know too.
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    from recipe import RECIPE

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    save(train(RECIPE.tokenizer_shares(), RECIPE.vocabulary), arguments.out, RECIPE.context)
