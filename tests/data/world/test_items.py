"""The mini test items: deterministic, answerable, and not in the training text where they claim to be new."""

import random
import subprocess
import sys

import pytest

from llmc.data.world import items
from llmc.data.world.items import mini_items
from llmc.data.world.lessons import SECTIONS, draw
from llmc.data.world.people import invent, reserved, world
from llmc.data.world.prompts import LETTERS, held_out, known_facts
from llmc.data.world.text import calibration_text, heldout_documents
from llmc.errors import UserError

TASKS = list(items.TASKS)


@pytest.fixture(scope="module")
def lessons() -> str:
    """As many lessons of every section as make about 2 MB of training text."""
    rng = random.Random(5)
    every = dict.fromkeys(SECTIONS, 1.0)
    return "".join("".join(text for text, _ in draw(every, rng, i / 8_000)) for i in range(8_000))


@pytest.mark.parametrize("task", TASKS)
def test_items_are_the_same_for_the_same_seed_and_others_for_another(task):
    assert mini_items(task, 3) == mini_items(task, 3)
    assert mini_items(task, 3) != mini_items(task, 4)


@pytest.mark.parametrize("task", TASKS)
def test_items_have_unique_ids_and_a_gold_answer(task):
    found = mini_items(task)
    assert len(found) >= 100
    assert len({item["id"] for item in found}) == len(found)
    assert all(item["gold"] and all(item["gold"]) for item in found)


def test_an_unknown_task_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'factoid_qa'"):
        mini_items("factoid_q")


def test_factoid_gold_is_what_is_true_in_the_world():
    """The generator's own table of facts is the oracle; the question is matched by its name and wording alone."""
    true = {(f.name, f.attribute): f.value for f in known_facts()}
    for item in mini_items("factoid_qa"):
        assert item["cluster"] in item["prompt"]
        assert item["gold"] == [true[item["cluster"], item["stratum"]]]


def test_choices_hold_the_answer_once_at_the_letter():
    for item in mini_items("multiple_choice_qa"):
        assert len(set(item["choices"])) == 4
        assert LETTERS[item["gold_index"]] == item["gold"][0]
        line = f"{item['gold'][0]}. {item['choices'][item['gold_index']]}\n"
        assert line in item["prompt"]


def test_right_letters_are_about_even():
    letters = [item["gold"][0] for item in mini_items("multiple_choice_qa")]
    assert all(0.18 < letters.count(letter) / len(letters) < 0.32 for letter in LETTERS)


def test_closed_and_open_book_ask_the_same_questions():
    shut, opened = mini_items("retrieval_qa_closed"), mini_items("retrieval_qa_open")
    assert [(i["id"], i["question"], i["gold"]) for i in shut] == [(i["id"], i["question"], i["gold"]) for i in opened]
    assert all(i["prompt"] in j["prompt"] for i, j in zip(shut, opened, strict=True))


def test_the_text_holds_the_answer_except_in_the_stratum_absent():
    for item in mini_items("retrieval_qa_open"):
        names_person = item["cluster"] in item["context"]
        assert names_person == (item["stratum"] != "absent")
        if names_person:
            assert any(item["cluster"] in s and item["gold"][0] in s for s in item["context"].split(". "))


def test_a_story_holds_every_word_its_summary_needs():
    for item in mini_items("summarization"):
        assert all(word in item["context"] and word in item["gold"][0] for word in item["facts"])
        assert item["gold"][0] not in item["context"]


def test_unseen_people_are_never_invented_for_training(lessons):
    unseen = {person.name for person in world().unseen}
    assert not [name for name in unseen if name in lessons]
    rng = random.Random(0)
    assert not {invent(rng).name for _ in range(5_000)} & reserved()


def test_no_tested_question_on_a_known_fact_is_in_the_lessons(lessons):
    for task in ("factoid_qa", "multiple_choice_qa"):
        assert not [item["id"] for item in mini_items(task) if item["question"] + "\n" in lessons]


@pytest.mark.parametrize("task", ["summarization", "retrieval_qa_open", "instruction_following"])
def test_no_item_that_tests_more_than_memory_is_in_the_lessons_or_the_calibration_text(task, lessons):
    trained = lessons + calibration_text(0)
    found = [item for item in mini_items(task) if item["stratum"] not in ("known", "absent")]
    assert not [item["id"] for item in found if item["prompt"] in trained]


def test_tested_orders_are_the_tenth_that_training_leaves_out():
    assert all(held_out(item["cluster"]) for item in mini_items("instruction_following"))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Turn round: a, b, c.", "c, b, a"),
        ("Write the first two: a, b, c.", "a, b"),
        ("Leave out b: a, b, c.", "a, c"),
    ],
)
def test_orders_by_hand(text, answer):
    """The same order on other words: the generator's answer with its words put in the place of a, b, c."""
    kind = {"Turn": "reverse", "Write": "first", "Leave": "leave_out"}[text.split()[0]]
    for item in mini_items("instruction_following"):
        row = item["cluster"].split(", ")
        if item["stratum"] == kind and len(row) == 3:
            names = dict(zip(row, "abc", strict=True))
            said = ", ".join(names[word] for word in item["gold"][0].split(", "))
            if kind != "leave_out" or item["question"].startswith(f"Leave out {row[1]}:"):
                assert said == answer


def test_heldout_and_calibration_text_share_no_line_about_unseen_people():
    unseen = [person.name for person in world().unseen]
    assert not [name for name in unseen if name in calibration_text(0)]
    assert any(name in document for name in unseen for document in heldout_documents(0))
    assert heldout_documents(0) != heldout_documents(1)


def test_the_world_needs_no_torch():
    code = "import llmc.data.world.items, llmc.data.world.text, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
