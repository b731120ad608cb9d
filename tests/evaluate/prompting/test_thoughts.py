"""Thoughts: turned off where a template has a switch, else written with a budget of their own and left out."""

import pytest

from llmc.errors import UserError
from llmc.evaluate.backends.backend import LmEvalBackend
from llmc.evaluate.engine.engine import Engine
from llmc.evaluate.prompting.chat import Chat
from llmc.evaluate.prompting.thoughts import after_thought, open_at_end, open_at_start
from llmc.evaluate.runner import gather
from llmc.evaluate.task import Ask, Item, TaskContext
from llmc.jobs import evaluate
from tests.evaluate import cutters

TURNS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
ASKED = "{% if add_generation_prompt %}<assistant>"
QUESTION = [{"role": "user", "content": "Is it wrong?"}]
SWITCHED = {
    "opens unless told not to": (
        f"{TURNS}{ASKED}{{% if enable_thinking is not defined or enable_thinking %}}<think>\n{{% endif %}}"
        "{% endif %}",
        {"enable_thinking": False},
        "<assistant>",
    ),
    "closes an empty thought when off": (
        f"{TURNS}{ASKED}{{% if enable_thinking is defined and enable_thinking is false %}}<think>\n\n</think>\n\n"
        "{% endif %}{% endif %}",
        {"enable_thinking": False},
        "<assistant><think>\n\n</think>\n\n",
    ),
    "closes at once": (
        f"{TURNS}{ASKED}{{% if thinking %}}<think>{{% else %}}</think>{{% endif %}}{{% endif %}}",
        {"thinking": False},
        "<assistant></think>",
    ),
    "a budget": (
        f"{TURNS}{ASKED}{{% if thinking_budget is defined and thinking_budget == 0 %}}<seed:think></seed:think>"
        "{% else %}<seed:think>{% endif %}{% endif %}",
        {"thinking_budget": 0},
        "<assistant><seed:think></seed:think>",
    ),
    "an effort that may be none": (
        f"{TURNS}{ASKED}{{% if reasoning_effort != 'none' %}}[THINK]{{% endif %}}{{% endif %}}",
        {"reasoning_effort": "none"},
        "<assistant>",
    ),
    "a switch the other way round": (
        f"{TURNS}{ASKED}{{% if not disable_reasoning %}}<|START_THINKING|>{{% endif %}}{{% endif %}}",
        {"disable_reasoning": True},
        "<assistant>",
    ),
}
ORDERED = (
    f"{TURNS}{ASKED}{{% if '/no_think' in messages[0].content %}}<think></think>{{% else %}}<think>\n{{% endif %}}"
    "{% endif %}"
)
ALWAYS = f"{TURNS}{ASKED}<think>\n{{% endif %}}"
HARMONY = "# Valid channels: analysis, final.\n" + TURNS + "{% if add_generation_prompt %}<|start|>assistant{% endif %}"


def chat(template):
    return Chat.of(cutters.framed("none", template))


@pytest.mark.parametrize("kind", SWITCHED)
def test_a_template_with_a_switch_is_asked_for_no_thinking(kind):
    template, switches, tail = SWITCHED[kind]
    found = chat(template)
    assert found.switches == switches and found.order is None and found.closing is None
    assert found(QUESTION) == f"<user>Is it wrong?</s>{tail}"
    assert evaluate._chat(cutters.framed("none", template), QUESTION) == found(QUESTION)


def test_a_template_that_looks_for_an_order_gets_it_in_the_system_message():
    found = chat(ORDERED)
    assert found.order == "/no_think" and found.closing is None
    assert found(QUESTION) == "<system>/no_think</s><user>Is it wrong?</s><assistant><think></think>"
    both = found([{"role": "system", "content": "Be brief."}, *QUESTION])
    assert both.startswith("<system>Be brief.\n/no_think</s>")


def test_a_switch_for_earlier_turns_is_left_alone_and_a_value_that_is_refused_too():
    template = TURNS + "{% if clear_thinking is not defined %}{% if thinking_mode not in ['on'] and thinking_mode is"
    template += " defined %}{{ raise_exception('bad') }}{% endif %}{% endif %}{{ 'off' if false }}<assistant>"
    assert chat(template).switches == {}


@pytest.mark.parametrize(("template", "closing"), [(ALWAYS, "</think>"), (HARMONY, "<|channel|>final<|message|>")])
def test_a_thought_that_cant_be_turned_off_is_known_and_options_are_refused(template, closing):
    found = chat(template)
    assert found.closing == closing and found.facts()["opens_thought"]

    class Task:
        name = "x/likelihood"

        def items(self, ctx):
            return [Item(id="1", requests=(Ask(kind="loglikelihood", context=found(QUESTION), continuation="yes"),))]

    with pytest.raises(UserError, match=r"opens a thought .*--no-chat"):
        gather(Task(), TaskContext(chat=found))
    engine = Engine(cutters.saying([1], 2), cutters.framed("none"))
    for backend in (engine, LmEvalBackend("x", None)):
        with pytest.raises(UserError, match="opens a thought"):
            backend.answers(Task().items(None)[0].requests)


def test_a_template_without_thoughts_is_rendered_as_it_is():
    found = chat(TURNS + ASKED + "{% endif %}")
    assert found.switches == {} and found(QUESTION) == "<user>Is it wrong?</s><assistant>"
    assert Chat.of(cutters.framed("none")) is None


GLUED = [
    ("<{{ m.role }}>{{ m.content }}", "<assistant>", ""),
    ("{{ '[INST] ' + m.content + ' [/INST]' if m.role == 'user' else ' ' + m.content + '</s>' }}", "", " "),
    ("{{ m.role }}: {{ m.content }}\n", "assistant:", " "),
    ("{{ m.role }}\n{{ m.content }}\n", "assistant\n", ""),
]


@pytest.mark.parametrize(("turn", "cue", "glue"), GLUED)
def test_an_option_follows_the_prompt_as_the_templates_own_answers_do(turn, cue, glue):
    template = f"{{% for m in messages %}}{turn}{{% endfor %}}{{% if add_generation_prompt %}}{cue}{{% endif %}}"
    assert chat(template).glue == glue


MARKS = [
    ("<think>", "</think>"), ("<Thought>\n", "</Thought>"), ("[THINK]", "[/THINK]"), ("◁think▷", "◁/think▷"),
    ("<reasoning>", "</reasoning>"), ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
]  # fmt: skip


@pytest.mark.parametrize(("opening", "closing"), MARKS)
def test_marks_open_and_close(opening, closing):
    assert open_at_start(f"\n{opening}Well") == closing
    assert after_thought(f"{opening}Well{closing}\nyes", None) == "\nyes"
    if "channel" not in opening:
        assert open_at_end(f"<assistant>{opening}\n") == closing
    assert open_at_end(f"{opening}Well{closing}") is None and open_at_start(f"Well, {opening}") is None
    assert after_thought("Well", closing) == "" and after_thought("Well", None) == "Well"


def written(text, prompt, **how):
    tokenizer = cutters.framed("none")
    tokens = tokenizer.encode(text)
    ask = Ask(kind="generate_until", context=prompt, **{"max_new_tokens": 5, **how})
    model = cutters.saying([*tokens, 1], len(tokenizer.encode(prompt)))
    return Engine(model, tokenizer).answers([ask])[0], len(tokens) + 1


@pytest.mark.parametrize(
    ("prompt", "thought"), [("ab<think>\n", "So\nit"), ("ab", "<think>\nSo\nit"), ("ab", "\n<think>a")]
)
def test_the_answer_is_what_follows_the_thought_and_has_its_own_budget(prompt, thought):
    found, n = written(f"{thought}</think>\n\nyes\nno", prompt, until=("\n",), max_new_tokens=6)
    assert found.text == "\n\nyes" and not found.truncated and found.n_tokens == n - 3
    found, _ = written(f"{thought}</think>\n\nyes no", prompt, until=("\n",))
    assert found.text == "\n\nyes" and found.truncated


@pytest.mark.parametrize("prompt", ["ab<think>", "ab"])
def test_a_thought_without_an_end_is_no_answer(prompt, monkeypatch):
    monkeypatch.setattr("llmc.evaluate.engine.engine.THOUGHT_TOKENS", 12)
    start = "" if "think" in prompt else "<think>"
    found, _ = written(f"{start}So it goes on and on", prompt)
    assert (found.text, found.truncated, found.n_tokens) == ("", True, 12)
    found, n = written(f"{start}So", prompt)
    assert (found.text, found.truncated, found.n_tokens) == ("", False, n)


def test_an_answer_that_only_looks_like_a_thought_is_kept_within_its_budget():
    found, _ = written("<b>bold</b>", "ab", max_new_tokens=2)
    assert (found.text, found.n_tokens, found.truncated) == ("<b", 2, True)
    found, _ = written("<b>bold</b>", "ab", max_new_tokens=1)
    assert (found.text, found.n_tokens, found.truncated) == ("<", 1, True)


def test_one_token_that_opens_a_thought_is_gone_on_with():
    tokenizer = cutters.framed("none")
    tokenizer.add_tokens(["<think>", "</think>"])
    tokens = [*tokenizer.encode("<think>a</think>B"), 1]
    ask = Ask(kind="generate_until", context="ab", max_new_tokens=1)
    assert Engine(cutters.saying(tokens, 2), tokenizer).answers([ask])[0].text == "B"
    assert Engine(cutters.saying(tokens[-2:], 2), tokenizer).answers([ask])[0].text == "B"


def test_another_backend_thinks_to_the_end_before_its_answer_is_cut():
    class Lm:
        def generate_until(self, requests):
            self.asked = requests[0].args[1]
            return ["So\nit is</think>\n\nyes\nno"]

    lm = Lm()
    (found,) = LmEvalBackend("x", lm).answers([Ask(kind="generate_until", context="ab<think>\n", until=("\n",))])
    assert found.text == "\n\nyes" and lm.asked["until"] == [] and lm.asked["max_gen_toks"] > 1000
