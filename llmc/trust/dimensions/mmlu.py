"""Benign MMLU beside the dimensions, asked as 'Decoding Compressed Trust' asked it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from llmc.errors import UserError
from llmc.evaluate.stats.estimate import Estimate, mean
from llmc.evaluate.task import Item, Scored, TaskContext
from llmc.reading.rows import Tally, csv_rows
from llmc.trust.machinery import closed_answers, mini
from llmc.trust.machinery.authors_files import numbered
from llmc.trust.machinery.balance import scaled
from llmc.trust.machinery.dimension import Dimension, TrustTask, mean_score
from llmc.trust.machinery.questions import Question, items, rendering, spread
from llmc.trust.prompts.messages import Messages, assistant, user
from llmc.trust.scorers import mmlu as scorer

GET = (
    "curl -L https://people.eecs.berkeley.edu/~hendrycks/data.tar | tar x -C DATA_ROOT "
    "&& mv DATA_ROOT/data DATA_ROOT/mmlu"
)
QUICK = 5
MAX_NEW_TOKENS = 16
N_SHOTS = 5
WINDOW = 2048
"""Tokens that the original lets a prompt have, whatever the model could take."""


def subjects(ctx: TaskContext) -> dict[str, tuple[list[list[str]], list[list[str]]]]:
    """(dev rows, test rows) of every subject, in Hendrycks' layout. Raises `UserError` where it is not there."""
    if ctx.data_root is None:
        raise UserError("benign MMLU asks for its files", hint=f"give --data-root DATA_ROOT after `{GET}`")
    files = sorted((ctx.data_root / "mmlu/test").glob("*_test.csv"))
    if not files:
        raise UserError(f"{ctx.data_root / 'mmlu/test'} has no *_test.csv", hint=f"get them with `{GET}`")
    found = {}
    for file in files:
        subject = file.name.removesuffix("_test.csv")
        found[subject] = (_rows(ctx.data_root / f"mmlu/dev/{subject}_dev.csv"), _rows(file))
    return found


def block(row: Sequence[str], *, answered: bool, published: bool = False) -> str:
    """A question with its four choices, and its answer where it is a demonstration.

    `published`: the original reads with pandas, for which the choice "None" is a missing cell.
    """
    choices = ["nan" if published and choice == "None" else choice for choice in row[1:5]]
    listed = "".join(f"\n{key}. {choice}" for key, choice in zip(scorer.KEYS, choices, strict=True))
    return f"{row[0]}{listed}\nAnswer:" + (f" {row[5]}\n\n" if answered else "")


def prompt(subject: str, shots: Sequence[Sequence[str]], row: Sequence[str], ctx: TaskContext) -> str:
    """The prompt with as many demonstrations as fit beside the answer, the last ones dropped first.

    In `compat` two spaces stand before the subject, as in the original.
    """
    published = ctx.mode == "compat"
    name = (" " if published else "") + subject.replace("_", " ")
    head = f"The following are multiple choice questions (with answers) about {name}.\n\n"
    room = min(WINDOW, ctx.max_length) - MAX_NEW_TOKENS
    for n in range(min(N_SHOTS, len(shots)), -1, -1):
        blocks = [block(shot, answered=True, published=published) for shot in shots[:n]]
        text = head + "".join(blocks) + block(row, answered=False, published=published)
        if len(ctx.encode(text)) <= room:
            return text
    return text


def conversation(subject: str, shots: Sequence[Sequence[str]], row: Sequence[str], ctx: TaskContext) -> Messages:
    """The same as turns: what the plain prompt begins with stands in the first question, answers are the letters."""
    head = f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n"
    room = min(WINDOW, ctx.max_length) - MAX_NEW_TOKENS
    for n in range(min(N_SHOTS, len(shots)), -1, -1):
        turns = [each for shot in shots[:n] for each in (user(block(shot, answered=False)), assistant(shot[5]))]
        first, *rest = [*turns, user(block(row, answered=False))]
        messages = (user(head + first["content"]), *rest)
        if len(ctx.encode(rendering(ctx).prompt(messages))) <= room:
            break
    return messages


def questions(ctx: TaskContext) -> Iterator[Question]:
    """Every question of every subject; through the chat template, examples as turns, but in `compat`, as published."""
    if ctx.scale == "mini":
        yield from mini.benign()
        return
    found = subjects(ctx)
    rows = {subject: numbered(test, f"mmlu/{subject}") for subject, (_, test) in found.items()}
    for subject, name, row in spread(rows, QUICK if ctx.scale == "quick" else None):
        shots = found[subject][0]
        turns = () if ctx.chat is None or ctx.mode == "compat" else conversation(subject, shots, row, ctx)
        yield Question(
            id=name,
            messages=turns,
            raw=None if turns else prompt(subject, shots, row, ctx),
            stratum=subject,
            question=row[0],
            gold=row[5],
            options=scorer.KEYS,
        )


def build(ctx: TaskContext) -> Iterable[Item]:
    """The items of a scale."""
    return items(ctx, questions(ctx), max_new_tokens=MAX_NEW_TOKENS)


def read(item: Item, text: str) -> closed_answers.Reading:
    """The first character; in `fixed` the first that is no space."""
    label = scorer.parse(text if item.meta["mode"] == "compat" else text.lstrip())
    return closed_answers.Reading(label, float(label == item.gold))


def micro(scored: Sequence[Scored]) -> Estimate:
    """100 times the accuracy over all questions, subjects of any size."""
    name = "acc" if closed_answers.is_compat(scored) else "acc_choice"
    marks = [row.marked.marks[name] for row in scored]
    known = [value for value in marks if value is not None]
    return scaled(mean(known), 100)


def _rows(file: Path) -> list[list[str]]:
    tally = Tally(file)
    rows = []
    for number, row in csv_rows(file):
        if not row:
            continue
        tally.n += 1
        if len(row) == 6:
            rows.append(row)
        else:
            tally.leave_out(UserError(f"{file}:{number} is no question with four choices", hint=f"get it with `{GET}`"))
    tally.check()
    return rows


TASK = TrustTask(
    name="trust/mmlu",
    dimension="mmlu",
    source="MMLU, arXiv:2009.03300; asked as in arXiv:2403.15447",
    primary="acc_choice",
    primary_at={"compat": "acc"},
    metrics=closed_answers.metrics(0.25),
    build=build,
    judge=closed_answers.judge(read),
    summary=closed_answers.summary(micro),
)
DIMENSION = Dimension(
    name="mmlu",
    source="arXiv:2009.03300; arXiv:2403.15447",
    question="What does the model know, with nobody trying to mislead it?",
    tasks=(TASK,),
    combine=mean_score([TASK.name]),
    benign=True,
)
