"""Summaries: no leak of the reference, bins, marks without a judge."""

import pytest

from llmc.errors import UserError
from llmc.evaluate.task import Answer, TaskContext
from llmc.kick_bench.tasks.summarization import TASK, bin_of, coverage, faithful, rouge

pa = pytest.importorskip("pyarrow")

TEXT = "The mayor of Lisbon, Ana Sousa, opened a bridge on 12 May. It cost 40 million euros."


@pytest.fixture
def root(tmp_path):
    """CNN/DailyMail's layout on the hub with 90 made-up articles."""
    from pyarrow import parquet

    rows = [
        {"id": f"{n:03d}", "article": f"Story {n}. " + "word " * n, "highlights": f"Secret {n} .\nReference {n} ."}
        for n in [*range(100, 130), *range(500, 530), *range(800, 830)]
    ]
    folder = tmp_path / "cnn_dailymail/3.0.0"
    folder.mkdir(parents=True)
    parquet.write_table(pa.Table.from_pylist(rows), folder / "test-00000-of-00001.parquet")
    return tmp_path


def test_bins_and_no_reference_in_the_prompt(root):
    items = list(TASK.items(TaskContext(data_root=root, scale="quick")))
    assert len(items) == 60 and [item.stratum for item in items].count("mid") == 20
    for item in items:
        assert "@highlight" not in item.requests[0].context
        assert not any(line in item.requests[0].context for line in item.gold[0].splitlines())
        assert item.requests[0].temperature == 0.0


def test_compat_leaks_the_reference_and_samples(root):
    ask = next(iter(TASK.items(TaskContext(data_root=root, scale="quick", mode="compat")))).requests[0]
    assert "@highlightSecret" in ask.context and ask.temperature == 0.7


@pytest.mark.parametrize(
    ("chat", "start", "end"),
    [
        (None, "A chat between a curious human", "\n### Assistant:"),
        (lambda turns: "<|im_start|>user\nquestion", "A chat between a curious human", "\n### Assistant:"),
        (lambda turns: "USER: question ASSISTANT:", "A chat between a curious user", " ASSISTANT:"),
        (lambda turns: "[INST] question [/INST]", "<s>[INST] <<SYS>>\nYou are a helpful, respectful", "[/INST]"),
    ],
)
def test_compat_is_the_published_prompt_to_the_letter(root, chat, start, end):
    """LLM-KICK generate_question.py and compressed_model.py: lines stripped and joined, in FastChat's conversation."""
    items = list(TASK.items(TaskContext(data_root=root, scale="quick", mode="compat", chat=chat)))
    item = next(each for each in items if each.stratum == "small")
    n = int(item.id.removeprefix("cnn-"))
    story = f"Story {n}. " + " ".join(["word"] * n)
    asked = (
        "Summarize the given story in less than 150 words while preserving high coherence, consistency, fluency, and "
        f"relevance.\n\n{story}@highlightSecret {n} .@highlightReference {n} ."
    )
    ask = item.requests[0]
    assert ask.context.startswith(start) and ask.context.endswith(end) and ask.until == ()
    assert ask.context.removesuffix(end).endswith(asked)
    news = next(each for each in items if each.stratum == "large")
    assert "Summarize the given news in less than 150 words" in news.requests[0].context


def test_an_empty_summary_scores_nothing_and_one_cut_at_its_prompt_isnt_marked(root):
    item = next(iter(TASK.items(TaskContext(data_root=root, scale="quick"))))
    marks = TASK.mark(item, [Answer(text=" ")]).marks
    assert {value for name, value in marks.items() if name != "facts"} == {0.0}
    assert set(TASK.mark(item, [Answer(text="x", overflowed=True)]).marks.values()) == {None}


def test_bins_are_the_papers():
    assert [bin_of("w " * n) for n in (1, 470, 471, 789, 790, 5000)] == ["small"] * 2 + ["mid"] * 2 + ["large"] * 2


def test_rouge_of_the_reference_is_one_and_by_hand():
    assert set(rouge(TEXT, TEXT).values()) == {1.0}
    # Two of four words of the reference: recall 1/2; two of two given: F1 = 2/3.
    found = rouge("red house", "the red house burns")
    assert found["rouge1_recall"] == 0.5 and found["rouge1"] == pytest.approx(2 / 3)


def test_planted_degradations_rank_below_the_clean_summary():
    """What each mark can see, and what it can't: a swapped name is seen by `faithful` alone."""
    clean = "Yesterday Ana Sousa opened a bridge in Lisbon that cost 40 million euros."
    swapped = "Yesterday Eva Costa opened a bridge in Madrid that cost 70 million euros."
    other = "Yesterday Bob won the chess cup in Oslo after 9 games."
    assert faithful(clean, TEXT) == 1.0 and faithful(swapped, TEXT) == 0.0 == faithful(other, TEXT)
    assert coverage(clean, TEXT) > coverage(swapped, TEXT) > coverage(other, TEXT)
    reference = "Mayor Ana Sousa opens 40 million euro bridge in Lisbon"
    truncated = clean[: len(clean) // 2]
    assert rouge(clean, reference)["rouge1_recall"] > rouge(truncated, reference)["rouge1_recall"]
    shuffled = " ".join(sorted(clean.split()))
    assert rouge(shuffled, reference)["rouge1_recall"] == rouge(clean, reference)["rouge1_recall"]  # blind to order
    assert rouge(clean, reference)["rouge2"] > rouge(shuffled, reference)["rouge2"]
    assert faithful("", TEXT) == 0.0 and faithful("nothing named here", TEXT) is None


def test_missing_articles_are_named_with_the_command_that_gets_them(tmp_path):
    with pytest.raises(UserError, match="hf download abisee/cnn_dailymail"):
        list(TASK.items(TaskContext(data_root=tmp_path)))
