"""Where answers end."""

import pytest
from transformers import AddedToken, GenerationConfig

from llmc.evaluate.backends.backend import LmEvalBackend
from llmc.evaluate.engine.endings import cut, end_texts, end_tokens, says_something
from llmc.evaluate.engine.engine import Engine
from llmc.evaluate.panel import flags_of
from llmc.evaluate.task import Answer, Ask, Marked
from llmc.trust.machinery.panel import state
from tests.evaluate import cutters

TEXTS = [
    ("Paris\nLondon", ("\n",), "Paris"),
    ("\n\n Paris\nLondon", ("\n",), "\n\n Paris"),
    ("\n \n", ("\n",), "\n \n"),
    (":\nParis", ("\n",), ":"),
    ("\n### Response: a", ("\n### ",), ""),
    ("\nA\n\nB", ("\n\n", "B"), "\nA"),
    ("a.b", (".", ""), "a"),
]


@pytest.mark.parametrize(("text", "stops", "kept"), TEXTS)
def test_white_space_stops_count_from_the_first_visible_character(text, stops, kept):
    assert cut(text, stops) == kept


def test_lm_evals_own_rule_counts_from_the_first():
    assert cut("\nParis", ("\n",), at_once=True) == ""


@pytest.mark.parametrize(("text", "said"), [("", 0), ("\n :", 0), ("…", 0), ("4", 1), ("Ж", 1), ("答", 1), (" a", 1)])
def test_an_answer_without_a_letter_or_digit_is_empty_in_both_panels(text, said):
    assert says_something(text) == bool(said) == (not state(text).empty)
    assert flags_of(Marked(marks={}), [Answer(text=text)])["empty"] is (not said)


def answer(tokens, *, tokenizer=None, ends=1, **how):
    """What the engine makes of a model that writes `tokens` after "ab"."""
    tokenizer = tokenizer or cutters.framed("none")
    ask = Ask(kind="generate_until", context="ab", **{"max_new_tokens": 40, **how})
    return Engine(cutters.saying(tokens, 2, ends=ends), tokenizer).answers([ask])[0]


@pytest.mark.parametrize(("text", "stops", "kept"), TEXTS[:-1])
def test_the_engine_ends_where_the_rule_says(text, stops, kept):
    tokens = cutters.framed("none").encode(text)
    found = answer([*tokens, 1], until=stops)
    assert found.text == kept and not found.truncated
    assert found.n_tokens <= len(tokens) + 1


@pytest.mark.parametrize(("text", "stops", "kept"), TEXTS[:-1])
def test_another_backend_gets_the_same_answers(text, stops, kept):
    class Lm:
        def generate_until(self, requests):
            until = requests[0].args[1]["until"]
            return [cut(text, until, at_once=True)]

    (found,) = LmEvalBackend("x", Lm()).answers([Ask(kind="generate_until", context="ab", until=stops)])
    assert found.text == kept


@pytest.fixture
def two_ends():
    """A tokenizer with an end token that it doesn't call special (260) and one that it does (261)."""
    made = cutters.framed("none")
    made.add_tokens([AddedToken("<|user|>", special=False), AddedToken("<|eot|>", special=True)])
    return made


@pytest.mark.parametrize("end", [1, 260, 261])
def test_every_end_token_ends_an_answer_and_leaves_no_text(end, two_ends):
    tokens = two_ends.encode("yes")
    found = answer([*tokens, end, *tokens], tokenizer=two_ends, ends=[1, 260, 261])
    assert (found.text, found.n_tokens, found.truncated) == ("yes", 4, False)
    found = answer([end], tokenizer=two_ends, ends=[1, 260, 261], max_new_tokens=1)  # read off like a likelihood
    assert (found.text, found.truncated) == ("", False)


def test_end_tokens_are_those_of_every_config_and_only_marks_are_looked_for_in_text(two_ends):
    newline = two_ends.encode("\n")[0]
    ends = end_tokens(two_ends, GenerationConfig(eos_token_id=[260, newline]), None)
    assert ends == {1, 260, newline} and end_texts(two_ends, ends) == ("</s>", "<|user|>")
    backend = LmEvalBackend("x", None, end_texts(two_ends, ends))
    assert backend._said("yes<|user|>no", Ask(kind="generate_until", context="ab")) == "yes"


def test_an_answer_cut_by_its_budget_is_truncated_and_one_that_just_fits_is_not(two_ends):
    tokens = two_ends.encode("yes")
    assert answer([*tokens, 1], max_new_tokens=3).truncated
    assert not answer([*tokens, 1], max_new_tokens=4).truncated


def test_lm_evals_tasks_stop_as_on_lm_evals_own_backend():
    engine = Engine(cutters.saying(cutters.framed("none").encode("\nyes\n"), 2), cutters.framed("none"))
    request = tiny_request("ab", {"until": ["\n"], "max_gen_toks": 5, "do_sample": False})
    assert engine.generate_until([request]) == [""]


def tiny_request(*arguments):
    from lm_eval.api.instance import Instance

    return Instance("generate_until", {}, arguments, 0)
