"""MMLU: the files, lm-eval's prompt and choices, the published protocol."""

import json
from collections import Counter

import pytest
import yaml
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from llmc.evaluate.engine.engine import Engine
from llmc.evaluate.journal import Journal
from llmc.evaluate.runner import gather, perform
from llmc.evaluate.task import Answer
from llmc.kick_bench.subjects import GROUP
from llmc.kick_bench.tasks.multiple_choice_qa import TASK, _letter, _questions, prompt
from tests.evaluate import tiny


def test_all_rows_are_read_and_none_is_a_word(ctx):
    test, dev = _questions(ctx(), "test"), _questions(ctx(), "dev")
    assert (len(test), len(dev), len(GROUP)) == (14042, 285, 57)
    assert sum(option == "None" for each in test for option in each.options) == 10
    assert not any(option == "nan" for each in test for option in each.options)
    assert Counter(GROUP.values()) == {"stem": 19, "humanities": 13, "social sciences": 12, "other": 13}


def test_scales_are_nested_and_spread_over_all_subjects(ctx):
    few = {"encode": str.split, "max_length": 10**6}
    quick = [item.id for item in TASK.items(ctx(scale="quick", **few))]
    full = [item.id for item in TASK.items(ctx(**few))]
    assert len(quick) == 1140 and len(full) == 14042 and full[:1140] == quick
    assert len({name.rsplit("-", 1)[0] for name in quick[:57]}) == 57


def test_the_prompt_is_lm_evals(ctx, tmp_path):
    """lm-eval renders its own `mmlu` template with its own few-shot code on the same rows."""
    task = lm_eval_task(ctx(), "anatomy", tmp_path)
    questions = [each for each in _questions(ctx(), "test") if each.subject == "anatomy"]
    shots = [each for each in _questions(ctx(), "dev") if each.subject == "anatomy"]
    for number in (0, 17, 134):
        document = task.test_docs()[number]
        theirs = task.fewshot_context(document, num_fewshot=5)
        assert prompt(questions[number], shots, published=False) == theirs


def lm_eval_task(ctx, subject, folder):
    """lm-eval's own task for a subject, its dataset replaced by the authors' files."""
    from pathlib import Path

    import lm_eval
    from lm_eval.api.task import ConfigurableTask

    base = Path(lm_eval.__file__).parent / "tasks/mmlu/default"
    config = yaml.safe_load((base / "_default_template_yaml").read_text())
    config |= yaml.safe_load((base / f"mmlu_{subject}.yaml").read_text())
    for split in ("test", "dev"):
        rows = [each for each in _questions(ctx, split) if each.subject == subject]
        lines = [
            {"question": r.text, "choices": list(r.options), "answer": "ABCD".index(r.answer), "subject": subject}
            for r in rows
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    for gone in ("include", "dataset_name", "tag", "task_alias"):
        config.pop(gone, None)
    files = {split: str(folder / f"{split}.jsonl") for split in ("test", "dev")}
    config |= {"dataset_path": "json", "dataset_kwargs": {"data_files": files}, "num_fewshot": 5}
    return ConfigurableTask(config=config)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_choices_are_lm_evals_on_the_same_model(ctx, name, tmp_path, monkeypatch):
    """Choices of the whole path, items to marks, against lm-eval's model class on lm-eval's own requests."""
    monkeypatch.setattr("llmc.kick_bench.tasks.multiple_choice_qa.N_QUICK", 1)
    tokenizer = tiny.tokenizer()
    engine = Engine(tiny.model(name), tokenizer, batch_tokens=4096, max_length=256)
    made = ctx(scale="quick", limit=20, max_length=10**6, encode=tokenizer.encode)
    asked = gather(TASK, made)
    ours = perform(asked, engine, Journal(tmp_path / "j")).samples
    lm = HFLM(pretrained=tiny.model(name), tokenizer=tokenizer, batch_size=8, max_length=256)
    for line, item in zip(sorted(ours, key=lambda s: s["id"]), sorted(asked.items, key=lambda i: i.id), strict=True):
        # The likelihood rule of lm-eval's `mmlu`: " A" to " D" after the prompt, the first of the best.
        pairs = [(item.requests[0].context, f" {letter}") for letter in "ABCD"]
        theirs = [ll for ll, _ in lm.loglikelihood([Instance("loglikelihood", {}, p, 0) for p in pairs], True)]
        assert line["choice"] == theirs.index(max(theirs))
        assert line["loglikelihoods"] == pytest.approx(theirs, abs=1e-4)


def test_compat_has_the_published_header_and_the_last_character(ctx, say):
    item = next(iter(TASK.items(ctx(scale="quick", mode="compat", encode=str.split))))
    assert item.requests[-1].context.startswith(
        "The following are multiple choice questions (with answers) about  abstract algebra.\n\n"
    )
    assert item.requests[-1].max_new_tokens == 1
    likelihoods = [Answer(loglikelihood=float(i)) for i in range(4)]
    assert TASK.mark(item, [*likelihoods, say(f" {item.gold}")]).marks["letter"] == 1.0
    for silent in ("", " ", "\n"):
        marks = TASK.mark(item, [*likelihoods, say(silent)]).marks
        assert (marks["letter"], marks["invalid"]) == (0.0, 1.0)


def test_a_prompt_that_is_too_long_loses_examples_from_the_end(ctx):
    short = next(iter(TASK.items(ctx(scale="quick", max_length=200, encode=str.split))))
    assert short.meta["n_shots"] < 5
    assert len(short.requests[0].context.split()) <= 199
    whole = next(iter(TASK.items(ctx(scale="quick", max_length=10**6, encode=str.split))))
    header = short.requests[0].context.split("\n\n")
    assert whole.requests[0].context.split("\n\n")[: len(header) - 1] == header[:-1]


@pytest.mark.parametrize(
    ("text", "letter"),
    [(" B", "B"), ("(C)", "C"), ("D.", "D"), ("", ""), ("Because", ""), (" b", ""), ("E", ""), (" A\n", "A")],
)
def test_a_letter_must_stand_alone(text, letter):
    assert _letter(text) == letter


def test_likelihoods_that_are_no_numbers_choose_nothing_and_that_is_wrong(ctx, say):
    item = next(iter(TASK.items(ctx(scale="mini"))))
    n = len(item.meta["options"])
    likelihoods = [Answer(loglikelihood=None if i == 1 else -1.0 - i) for i in range(n)]
    marked = TASK.mark(item, [*likelihoods, say(""), *likelihoods])
    assert marked.choice is None and marked.marks["acc"] == marked.marks["acc_text"] == 0.0
    assert marked.loglikelihoods == (-1.0, None, *(-1.0 - i for i in range(2, n)))
