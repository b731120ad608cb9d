"""Every task of both suites that chooses among options: which rule it follows, and what strings it scores."""

import hashlib
import math
import re

import pytest

from llmc.catalog import catalog
from llmc.evaluate.engine.engine import Engine
from llmc.evaluate.runner import gather, sample
from llmc.evaluate.task import Answer, Scored, TaskContext
from llmc.trust.prompts.messages import GLAD
from tests.evaluate import tiny
from tests.trust import made_up

TASKS = {
    **catalog("llmc.kick_bench.tasks", "TASK"),
    **{task.name: task for one in catalog("llmc.trust.dimensions", "DIMENSION").values() for task in one.tasks},
}
CHATS = {
    "plain": None,
    "chatml": lambda turns: (
        "".join(f"<|im_start|>{t['role']}\n{t['content']}<|im_end|>\n" for t in turns) + "<|im_start|>assistant\n"
    ),
    "llama": lambda turns: "".join(f"[INST] {t['content']} [/INST]" for t in turns),
    "vicuna": lambda turns: "".join(f"USER: {t['content']} " for t in turns) + "ASSISTANT:",
}
SETTINGS = [
    ("fixed", "mini", "plain"),
    ("fixed", "quick", "plain"),
    ("fixed", "quick", "chatml"),
    ("compat", "quick", "plain"),
    ("compat", "quick", "llama"),
    ("compat", "quick", "vicuna"),
]
CHOOSERS = {
    "kick/multiple_choice_qa",
    *(f"trust/{name}" for name in ("adversarial", "ethics", "fairness", "mmlu", "stereotype")),
    *(f"trust/demonstrations_{part}" for part in ("counterfactual", "spurious", "backdoor")),
    *(f"trust/ood_{part}" for part in ("style", "knowledge")),
}
SHOWN = {
    "fixed": {
        "kick/multiple_choice_qa", "trust/adversarial", "trust/demonstrations_backdoor", "trust/ethics", "trust/mmlu",
        "trust/demonstrations_counterfactual", "trust/demonstrations_spurious", "trust/fairness",
        "trust/ood_knowledge", "trust/ood_style",
    },
}  # fmt: skip
SHOWN["compat"] = SHOWN["fixed"] - {"trust/fairness"}
"""The tasks with demonstrations; `compat` loses those of fairness, as the original did."""


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("options")
    made_up.write(root)
    return root


@pytest.fixture(autouse=True)
def small_mmlu(monkeypatch):
    """Three questions a subject in place of the pinned files of KICK's multiple choice."""
    row = "Why {}?,w,xx yy,y,z z z,{}\n"
    text = "".join(row.format(n, "ABCD"[n % 4]) for n in range(5))
    monkeypatch.setattr("llmc.kick_bench.tasks.multiple_choice_qa.read", lambda root, name: text)


def items_of(name, data_root, mode, scale, chat):
    if name.startswith("kick/") and name not in CHOOSERS and scale != "mini":
        pytest.skip("asks for no options at scale mini either, which a test of its own checks")
    ctx = TaskContext(scale=scale, mode=mode, data_root=data_root, chat=CHATS[chat], scorer="toxicity=words", limit=120)
    return gather(TASKS[name], ctx).items


def scored_of(item):
    return [ask for ask in item.requests if ask.kind == "loglikelihood"]


def joint(ask):
    """A joint log-likelihood that hangs on the request alone, and never on how long the option is."""
    draw = int(hashlib.sha256(ask.key().encode()).hexdigest(), 16) % 10_000
    return -0.5 - draw / 700


def known_model(item):
    """Answers with known joint probabilities, the more tokens the longer an option is."""
    return [
        Answer(text="") if ask.kind == "generate_until" else Answer(loglikelihood=joint(ask), n_tokens=n_tokens(ask))
        for ask in item.requests
    ]


def n_tokens(ask):
    return 1 + len(ask.continuation.strip()) ** 2 // 4


def options_of(item):
    """(scored option, joint log-likelihood) of the first set of options."""
    asks = scored_of(item)
    n = len(item.meta["options"])
    assert len(asks) in (n, 2 * n)
    return [(ask.continuation.strip(), joint(ask)) for ask in asks[:n]]


@pytest.mark.parametrize("name", TASKS)
def test_who_chooses_is_known(name, data_root):
    """A new task that scores options can't stay out of these tests."""
    ctx = TaskContext(scale="mini", scorer="toxicity=words", limit=40)
    assert any(scored_of(item) for item in gather(TASKS[name], ctx).items) == (name in CHOOSERS)


@pytest.mark.parametrize(("mode", "scale", "chat"), SETTINGS)
@pytest.mark.parametrize("name", sorted(CHOOSERS))
def test_the_likeliest_label_is_chosen_whatever_its_length(name, mode, scale, chat, data_root):
    task, rows, differ = TASKS[name], [], 0
    items = items_of(name, data_root, mode, scale, chat)
    for item in items:
        options = options_of(item)
        best = max(options, key=lambda pair: pair[1])
        rates = [value / n_tokens(ask) for (_, value), ask in zip(options, scored_of(item), strict=False)]
        differ += rates.index(max(rates)) != options.index(best)
        answers = known_model(item)
        marked = task.mark(item, answers)
        assert marked.choice == options.index(best)
        assert list(marked.loglikelihoods) == [value for _, value in options]
        check_marks(name, item, marked, options, best)
        line = sample(item, item.requests, marked, answers, marked.flags)
        assert len(line["options"]) == len(line["loglikelihoods"]) == len(options) and line["choice"] == marked.choice
        rows.append(Scored(item, marked))
    if len({n_tokens(ask) for ask in scored_of(items[0])[: len(items[0].meta["options"])]}) > 1:
        assert differ, "no item tells the joint rule from the one a token"
    check_metrics(name, mode, rows, task.summarise(rows))


def check_marks(name, item, marked, options, best):
    """Every mark of the likelihood channel, from the known probabilities."""
    total = math.fsum(math.exp(value) for _, value in options)
    p = {label: math.exp(value) / total for label, value in options}
    marks = marked.marks
    if name == "kick/multiple_choice_qa":
        assert marks["acc"] == float(best[0] == item.gold)
        if "acc_text" in marks:
            asks, right = scored_of(item)[len(options) :], "ABCD".index(item.gold)
            lengths = [len(ask.continuation) - 2 for ask in asks]  # a space before, the end of the line after
            rates = [joint(ask) / n for ask, n in zip(asks, lengths, strict=True)]
            assert marks["acc_text"] == float(max(asks, key=joint) is asks[right])
            assert marks["acc_text_norm"] == float(max(rates) == rates[right])
            assert marked.by_mark["acc_text"] == tuple(map(joint, asks))
    elif name == "trust/stereotype":
        assert marks["agree_choice"] == pytest.approx(p[options[0][0]])
        if item.stratum != "control":
            assert marks["unbiased_choice"] == pytest.approx(p[options[1][0]])
    else:
        assert marks["acc_choice"] == float(best[0] == item.gold)
        assert marks["p_right"] == pytest.approx(p[item.gold])
    if name == "trust/fairness":
        yes = next(label for label in p if label.lower() in ("yes", "low"))
        assert marks["p_yes"] == pytest.approx(p[yes])
        assert marks["gap"] == pytest.approx(p[yes] * (2 if item.meta["group"] else -2))
    if item.meta.get("free_text"):
        rates = {label: value / len(label) for label, value in options}
        assert marks["acc_choice_norm"] == float(max(rates, key=rates.get) == item.gold)
    else:
        assert "acc_choice_norm" not in marks


def check_metrics(name, mode, rows, found):
    """The metrics are the means of those marks; strata of one size need no weights."""
    strata = [row.item.stratum for row in rows]
    if len({strata.count(one) for one in strata}) > 1 or any("/" in str(one) for one in strata):
        return
    for metric in (
        ("acc", "acc_text", "acc_text_norm") if name.startswith("kick") else ("acc_choice", "acc_choice_norm")
    ):
        marks = [row.marked.marks[metric] for row in rows if metric in row.marked.marks]
        if marks and metric in found:
            assert found[metric].value == pytest.approx(sum(marks) / len(marks))


def test_the_lengths_of_real_tokens_do_not_count():
    """The choice of `trust/ethics` on a random model is that of the summed log-softmax, over 40 items."""
    engine = Engine(tiny.model("llama"), tiny.tokenizer())
    task = TASKS["trust/ethics"]
    items = gather(task, TaskContext(scale="mini", limit=40)).items
    asks = [ask for item in items for ask in item.requests]
    answers = iter(engine.answers(asks))
    for item in items:
        given = [next(answers) for _ in item.requests]
        marked = task.mark(item, given)
        sums = [summed(engine, ask) for ask in scored_of(item)]
        assert marked.choice == sums.index(max(sums))
        assert given[-2].n_tokens != given[-1].n_tokens


def summed(engine, ask):
    import torch

    before, after = engine.encoder.pair(ask.context, ask.continuation)
    tokens = torch.tensor([[*before, *after]])
    with torch.no_grad():
        logits = engine.network.model(tokens).logits[0].double().log_softmax(-1)
    return sum(float(logits[len(before) + i - 1, token]) for i, token in enumerate(after))


@pytest.mark.parametrize(("mode", "scale", "chat"), SETTINGS)
@pytest.mark.parametrize("name", sorted(CHOOSERS))
def test_no_option_begins_another(name, mode, scale, chat, data_root):
    """Else the shorter one's probability would hold that of the longer one."""
    for item in items_of(name, data_root, mode, scale, chat):
        options = [ask.continuation for ask in scored_of(item)[: len(item.meta["options"])]]
        assert not [(a, b) for a in options for b in options if a is not b and b.startswith(a)]


@pytest.mark.parametrize(("mode", "scale", "chat"), SETTINGS)
@pytest.mark.parametrize("name", sorted(CHOOSERS))
def test_the_scored_strings_are_what_the_prompt_shows_or_asks_for(name, mode, scale, chat, data_root):
    """Case, space before, full stop: as the demonstrations end; without any, as the instruction quotes them."""
    n_shown = 0
    for item in items_of(name, data_root, mode, scale, chat):
        for prompt in {ask.context for ask in scored_of(item)}:
            options = [ask.continuation for ask in scored_of(item) if ask.context == prompt]
            shown = demonstrated(prompt)
            n_shown += bool(shown)
            if shown:
                assert shown <= {option.rstrip("\n") for option in options}, prompt[-300:]
            elif scale != "mini" and not mute(name, mode, item):
                assert not [option for option in options if not quoted(option.strip(), prompt)], prompt[-300:]
            if item.gold:
                assert item.gold in {option.strip() for option in options} or len(options) < len(scored_of(item))
    if scale != "mini":
        assert bool(n_shown) == (name in SHOWN[mode])


def mute(name, mode, item):
    """Whether the prompt neither shows nor asks: `compat` loses fairness' task with its demonstrations."""
    return name == "trust/fairness" and mode == "compat" and item.stratum.startswith("few")


def demonstrated(prompt):
    """What stands where an answer stands, wherever the prompt has the words before its own end again."""
    cue = re.escape(prompt.rstrip(" ")[-8:])
    found = re.findall(rf"(?is){cue}(.*?)(?=\s*(?:\n|</s>|<\||\[INST\]|USER:|$))", prompt[:-1])
    return {text for text in found if text and text.strip() not in (GLAD, "")}


def quoted(option, prompt):
    """Whether the prompt names the option, in quotes or as a line of a list."""
    return re.search(rf"['“\"]{re.escape(option)}['”\"]|(?m:^ ?{re.escape(option)} ?[.:] )", prompt) is not None
