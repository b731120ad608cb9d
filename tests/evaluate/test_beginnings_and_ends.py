"""What stands before a text and behind it: once, and nowhere."""

import pytest
import torch

from llmc.data.framing import frame_of
from llmc.evaluate.engine.encoding import Encoder
from llmc.evaluate.engine.engine import Engine
from llmc.evaluate.prompting.chat import Chat
from llmc.evaluate.task import Ask, TaskContext
from llmc.kick_bench.tasks.perplexity import TASK
from tests.evaluate import cutters, tiny

KINDS = list(cutters.FRAMES)
OWN_BOS = "<s>{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
NO_BOS = OWN_BOS.removeprefix("<s>")


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_is_what_the_tokenizer_adds(kind):
    _, lead, tail = cutters.FRAMES[kind]
    assert frame_of(cutters.framed(kind)) == (lead, tail)


@pytest.mark.parametrize("kind", KINDS)
def test_every_text_begins_with_the_lead_once_and_none_has_an_end(kind):
    encoder, lead = Encoder(cutters.framed(kind), 256), list(cutters.FRAMES[kind][1])
    bare = Encoder(cutters.framed("none"), 256).encode("ab c")
    assert encoder.encode("ab c") == lead + bare == list(encoder.prompt("ab c", 5).tokens)
    assert encoder.pair("ab", " c") == (lead + bare[:2], bare[2:])
    assert encoder.encode("ab c", special=False) == bare
    assert encoder.encode("<s>ab")[:2] == [0, bare[0]]


@pytest.mark.parametrize("template", [OWN_BOS, NO_BOS])
@pytest.mark.parametrize("kind", ["none", "bos", "eos", "both"])
def test_a_prompt_through_a_template_has_one_beginning(kind, template):
    tokenizer = cutters.framed(kind, template)
    tokens = Encoder(tokenizer, 256).prompt(Chat.of(tokenizer)([{"role": "user", "content": "a"}]), 5).tokens
    assert tokens.count(0) == int(template is OWN_BOS or kind in ("bos", "both")) and tokens.count(1) == 0
    assert tokens.count(0) == 0 or tokens[0] == 0


@pytest.mark.parametrize("kind", ["bos", "both", "two"])
def test_what_is_cut_to_fit_keeps_its_beginning(kind):
    lead = cutters.FRAMES[kind][1]
    encoder = Encoder(cutters.framed(kind), 20)
    cut = encoder.prompt("x" * 30, 5)
    assert cut.overflowed and len(cut.tokens) == 15 and cut.tokens[: len(lead)] == lead
    engine = Engine(tiny.model("llama"), cutters.framed(kind), max_length=20)
    (scored,) = engine._piece(Ask(kind="loglikelihood", context="x" * 40, continuation=" y")).targets
    assert len(scored.tokens) == 21 and scored.tokens[: len(lead)] == lead


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 9, 10, 11, 33])
def test_rolling_windows_score_every_token_once_and_each_begins_with_the_lead(kind, n):
    encoder, lead = Encoder(cutters.framed(kind), 10), list(cutters.FRAMES[kind][1])
    text = "".join(chr(97 + i % 26) for i in range(n))
    windows = encoder.windows(text)
    assert [token for _, scored in windows for token in scored] == encoder.encode(text, special=False)
    assert all(len(given) + len(scored) <= 11 for given, scored in windows)
    assert all(given[: len(lead)] == lead and given[len(lead) :].count(0) <= (not lead) for given, _ in windows)
    if n == 33:  # the last one is filled up with what stands before it
        assert len(windows[-1][0]) + len(windows[-1][1]) == 11


@pytest.mark.parametrize("kind", ["none", "bos", "eos", "both", "two"])
def test_perplexity_puts_the_lead_before_every_window_and_scores_the_text_behind_it(kind, tmp_path, monkeypatch):
    text = "".join(chr(97 + (7 * i) % 26) for i in range(100))
    monkeypatch.setattr("llmc.kick_bench.tasks.perplexity.read", lambda root, name: text)
    encoder, lead = Encoder(cutters.framed(kind), 16), cutters.FRAMES[kind][1]
    how = {"scale": "full", "max_length": 16, "encode": encoder.encode, "decode": encoder.decode, "lead": encoder.lead}
    items = list(TASK.items(TaskContext(**how)))
    width = 16 - len(lead)
    bare = tuple(encoder.encode(text, special=False))
    cut = [bare[i : i + width] for i in range(0, 100 - width + 1, width)]
    assert [item.requests[0].tokens for item in items] == [(*lead, *part) for part in cut]
    n_given = max(1, len(lead))
    assert {item.meta["n_scored"] for item in items} == {16 - n_given} == {item.meta["n_bytes"] for item in items}
    published = list(TASK.items(TaskContext(**how, mode="compat")))
    whole = (*lead, *bare)
    assert [item.requests[0].tokens for item in published] == [whole[i : i + 16] for i in range(0, len(whole) - 15, 16)]


def test_given_tokens_are_not_scored():
    """The likelihood behind two given tokens is the sum of the single steps."""
    engine = Engine(tiny.model("llama"), cutters.framed("two"))
    tokens = (3, 0, 70, 71, 72)
    (answer,) = engine.answers([Ask(kind="loglikelihood_rolling", context="", tokens=tokens, n_given=2)])
    with torch.no_grad():
        log_p = tiny.model("llama")(torch.tensor([tokens])).logits[0].double().log_softmax(-1)
    assert answer.loglikelihood == pytest.approx(sum(float(log_p[i - 1, tokens[i]]) for i in (2, 3, 4)), abs=1e-4)
    assert answer.n_tokens == 3


PAIRS = [
    ("Question A\nAnswer:", " yes"), ("Answer:", "yes"), ("Answer: ", "yes"), ("the river\n", "yes"),
    ("the river is", " not wrong"), ("Öl", " ü"), ("", " yes"), ("the river is", " wide\n"),
]  # fmt: skip


@pytest.mark.parametrize("scheme", ["always", "first", "never"])
@pytest.mark.parametrize("pair", PAIRS)
def test_a_pair_of_a_prefix_space_tokenizer_is_the_joined_text(pair, scheme):
    context, continuation = pair
    encoder = Encoder(cutters.sentencepiece(scheme), 256)
    before, after = encoder.pair(context, continuation, as_lm_eval=False)
    assert before[0] == 1 and (before + after).count(1) == 1
    assert before + after == encoder.encode(context + continuation)
    assert encoder.decode(after, special=True).strip().endswith(continuation.strip())


def test_a_token_over_the_border_belongs_to_the_continuation():
    encoder = Encoder(cutters.sentencepiece("never"), 256)
    whole = encoder.encode("the river is wide")
    assert whole[: len(encoder.encode("the river is"))] != encoder.encode("the river is"), "a case that needs the rule"
    before, after = encoder.pair("the river is", " wide", as_lm_eval=False)
    assert before + after == whole and "the river is".startswith(encoder.decode(before))


def test_an_option_begins_behind_the_templates_last_token_unless_its_space_is_joined_to_it():
    tokenizer = cutters.sentencepiece("first")
    encoder = Encoder(tokenizer, 256)
    before, after = encoder.pair("the river\n", "yes", as_lm_eval=False)
    assert before == encoder.encode("the river\n") and encoder.decode(after) == "yes"
    assert len(encoder.pair("the river\n", "yes")[1]) == len(after) + 1  # lm-eval scores the line end too
    pairs = (encoder.pair(*pair, as_lm_eval=False) for pair in (("the river ", "is"), ("the river", " is")))
    assert [before + after for before, after in pairs] == [encoder.encode("the river is")] * 2
