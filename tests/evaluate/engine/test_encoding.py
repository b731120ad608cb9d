"""Tokens by lm-eval's conventions, held against lm-eval's own code."""

import pytest
from lm_eval.models.huggingface import HFLM

from llmc.errors import UserError
from llmc.evaluate.engine.encoding import Encoder
from tests.evaluate import tiny

PAIRS = [
    ("ab", " cd"), ("ab ", "cd"), ("ab  ", " cd"), ("ab\n", "cd"), ("ab", "cd"), ("<s>ab", " c"), ("é", " ü"),
    ("Q: x\nA:", " B"), ("a\t", "b"),
]  # fmt: skip


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("pair", PAIRS)
def test_pairs_split_as_lm_eval_splits_them(pair, bos):
    tokenizer = tiny.tokenizer(bos=bos)
    theirs = HFLM(pretrained=tiny.model("llama"), tokenizer=tokenizer)._encode_pair(*pair)
    assert Encoder(tokenizer, 256).pair(*pair) == tuple(theirs)


def test_a_context_without_tokens_becomes_the_prefix_token():
    encoder = Encoder(tiny.tokenizer(), 256)
    assert encoder.pair("", "a")[0] == [encoder.prefix_token]
    assert encoder.pair("", "<s>a") == ([0], encoder.encode("a"))


def test_a_prompt_keeps_its_end_and_says_what_it_lost():
    encoder = Encoder(tiny.tokenizer(), 20)
    fits, cut = encoder.prompt("a" * 15, 5), encoder.prompt("b" + "a" * 15, 5)
    assert len(fits.tokens) == 15 and not fits.overflowed
    assert cut.tokens == fits.tokens and cut.overflowed
    assert encoder.prompt("", 5).tokens == (encoder.prefix_token,)


@pytest.mark.parametrize(
    "bad", [lambda e: e.prompt("a", 20), lambda e: e.pair("a", ""), lambda e: e.pair("a", "b" * 21)]
)
def test_what_cannot_fit_is_refused(bad):
    with pytest.raises(UserError):
        bad(Encoder(tiny.tokenizer(), 20))
