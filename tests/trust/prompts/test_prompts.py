"""Golden prompts: the published ones with their faults, and the right ones."""

import pytest

from llmc.evaluate.task import TaskContext
from llmc.trust.dimensions import adversarial, mmlu
from llmc.trust.prompts import compat, fixed, messages
from llmc.trust.prompts.messages import Shot, assistant, classification, classification_in_system, system, user
from llmc.trust.prompts.rendering import Rendering

SHOTS = (Shot("a", "yes"), Shot("b", "no"))


def test_zero_shot_llama_2_has_lost_its_header():
    """Specification 6.1, defect 1, to the letter."""
    got = compat.render(classification("T", "x"), "llama-2")
    assert got == "You are a helpful assistant.T\nx[/INST]"


def test_two_user_turns_in_a_row_close_like_an_answer():
    got = compat.render((system("SYS"), user("CTX"), user("Q")), "llama-2")
    assert got == "SYSCTX[INST] Q </s><s>[/INST]"


def test_fairness_demonstrations_vanish():
    """Specification 6.1, defect 2: the last system message is the header, and nothing else is left."""
    got = compat.render(classification_in_system("T", "query", SHOTS), "llama-2")
    assert got == "Noquery[/INST]"


def test_without_a_system_message_the_header_stays():
    got = compat.render((user("q"),), "llama-2")
    assert got.startswith("<s>[INST] <<SYS>>\nYou are a helpful, respectful") and got.endswith("<</SYS>>\n\nq[/INST]")


def test_few_shot_prompts_of_all_templates():
    asked = classification("T", "x", SHOTS[:1])
    head = "You are a helpful, pattern-following assistant."
    assert compat.render(asked, "llama-2") == (
        f"{head}T[/INST] Sure, I'd be happy to! </s><s>[INST] a [/INST] Yes </s><s>[INST] x [/INST]"
    )
    assert compat.render(asked, "vicuna_v1.1") == (
        f"{head} USER: T ASSISTANT: Sure, I'd be happy to!</s>USER: a ASSISTANT: Yes</s>USER: x ASSISTANT:"
    )
    assert compat.render(asked, "redpajama-incite-instruct") == (
        f"{head}T\nanswer: Sure, I'd be happy to!\na\nanswer: Yes\nx\nanswer:"
    )


def test_base_models_lose_their_last_character():
    """Specification 6.1, defect 3."""
    assert compat.after("positive", "redpajama-incite-instruct") == "positiv"
    assert compat.after("yes sentence: x", "redpajama-incite-instruct") == "yes "
    assert compat.after("positive", "llama-2") == "positive"


@pytest.mark.parametrize(
    ("rendered", "template"),
    [
        (None, "redpajama-incite-instruct"),
        ("<s>[INST] question [/INST]", "llama-2"),
        ("USER: question ASSISTANT:", "vicuna_v1.1"),
    ],
)
def test_the_nearest_published_template(rendered, template):
    assert compat.guess(rendered) == template


def test_published_mmlu_has_two_spaces_and_missing_cells():
    """`format_subject` begins with a space; pandas reads the choice "None" as a missing cell and prints nan."""
    row = ["What?", "None", "b", "c", "d", "B"]
    compat_ctx, fixed_ctx = TaskContext(mode="compat"), TaskContext()
    asked = "What?\nA. nan\nB. b\nC. c\nD. d\nAnswer:"
    head = "The following are multiple choice questions (with answers) about  abstract algebra.\n\n"
    assert mmlu.prompt("abstract_algebra", [row], row, compat_ctx) == f"{head}{asked} B\n\n{asked}"
    plain = mmlu.prompt("abstract_algebra", [row], row, fixed_ctx)
    assert plain == f"{head}{asked} B\n\n{asked}".replace("  abstract", " abstract").replace("nan", "None")


def test_another_tasks_fields_are_renamed_in_published_attacked_texts():
    row = {"method": "textbugger", "question1": "is sentence1 so?", "question2": "and sentence2", "label": 1}
    fixed_text = "question1: is sentence1 so?\nquestion2: and sentence2"
    assert adversarial.text_of(row, "qqp") == fixed_text
    renamed = "question1: is premise so?\nquestion2: and Hypothesis"
    assert adversarial.text_of(row, "qqp", published=True) == renamed
    alone = {"method": "semattack", "sentence": "my sentence2", "label": 1}
    assert adversarial.text_of(alone, "sst2", published=True) == "my Hypothesis"


def test_the_plain_form_keeps_every_demonstration_and_no_chatter():
    got = fixed.plain(classification("T", "x", SHOTS))
    assert got == f"{messages.FOLLOWING}\n\nT\n\na\nAnswer: Yes\n\nb\nAnswer: No\n\nx\nAnswer:"
    assert fixed.plain((user("premise: p\nanswer:"),)) == "premise: p\nanswer:"
    assert fixed.plain((user("s\nanswer:"), assistant("Yes"), user("t\nanswer:"))) == "s\nanswer: Yes\n\nt\nanswer:"
    assert fixed.plain((system("S"), user("go on "))) == "S\n\ngo on\nAnswer:"
    assert fixed.plain((user("go on "),), cue=False) == "go on "


def test_a_chat_template_sees_alternating_turns():
    seen = []
    fixed.render((system("S"), user("a"), user("b")), lambda turns: seen.append(turns) or "")
    assert seen == [[{"role": "system", "content": "S"}, {"role": "user", "content": "a\nb"}]]


def test_the_space_before_an_option():
    assert fixed.option("Answer:", "yes") == " yes" and fixed.option("[/INST]", "yes") == " yes"
    assert fixed.option("assistant\n", "yes") == "yes" and fixed.option("<|assistant|>", "yes") == "yes"


def test_a_rendering_is_compat_or_fixed():
    asked = classification("T", "x")
    base, chat = Rendering("compat", None), Rendering("compat", lambda turns: "[INST]")
    assert base.prompt(asked) == "You are a helpful assistant.T\nx\nanswer:"
    assert chat.prompt(asked).endswith("[/INST]")
    assert Rendering("fixed", lambda turns: turns[-1]["content"]).prompt(asked) == "T\nx"


def test_an_option_follows_a_template_as_the_template_has_it():
    assert fixed.option("USER: a ASSISTANT:", "Yes", " ") == " Yes"
    assert fixed.option("[/INST]", "Yes", "") == "Yes" and fixed.option("assistant\n", "Yes", "") == "Yes"
