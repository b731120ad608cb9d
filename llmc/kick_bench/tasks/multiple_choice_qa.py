"""Multiple choice over 57 subjects: by the likelihood of the letters, and by the letter that the model writes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from llmc.data.pinned import read
from llmc.errors import UserError
from llmc.evaluate.stats.estimate import Estimate
from llmc.evaluate.task import Answer, Ask, Item, Marked, Metric, Scored, TaskContext, by_length, likeliest
from llmc.kick_bench.averages import average, averages
from llmc.kick_bench.conversation import glue
from llmc.kick_bench.subjects import GROUP
from llmc.kick_bench.subsets import in_turn, mini, rank

LETTERS = ("A", "B", "C", "D")
N_SHOTS = 5
N_QUICK = 20
"""Questions a subject at scale quick: 1,140."""
PUBLISHED_WINDOW = 2048


class Question(NamedTuple):
    """A row of the authors' files. An option that says "None" is that word."""

    subject: str
    number: int
    text: str
    options: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class MultipleChoiceQA:
    """MMLU, five shots.

    `acc`: the likeliest of " A" to " D" is right, with lm-eval's `mmlu` prompt in `fixed`; through a chat template the
    examples are turns, as with lm-eval's `fewshot_as_multiturn`, and the letters follow the template.
    `letter`: the letter that the model writes is right; what isn't a letter counts as wrong, and in `invalid`. So
    acc - letter is loss of form, not of knowledge. `acc_text` (mini): the likeliest option by its own text, asked
    without the list; `acc_text_norm`: the same a character. In `compat` the prompt and the rule (last character of the
    text) are the published script's.
    """

    name: ClassVar[str] = "kick/multiple_choice_qa"
    suite: ClassVar[str] = "kick"
    dimension: ClassVar[None] = None
    version: ClassVar[int] = 2
    source: ClassVar[str] = "arXiv:2310.01382, section 3.1; arXiv:2009.03300"
    primary: ClassVar[str] = "acc"
    primary_at: ClassVar[Mapping[str, str]] = {"compat": "letter"}
    metrics: ClassVar[Mapping[str, Metric]] = {
        "acc": Metric(kind="proportion", chance=0.25, channel="likelihood"),
        "letter": Metric(kind="proportion", chance=0.25, channel="text"),
        "invalid": Metric(kind="proportion", direction="lower", channel="text"),
        "acc_text": Metric(kind="proportion", chance=0.25, channel="likelihood"),
        "acc_text_norm": Metric(kind="proportion", chance=0.25, channel="likelihood"),
        **{f"acc_{group}": Metric(kind="proportion", chance=0.25) for group in sorted(set(GROUP.values()))},
    }

    def items(self, ctx: TaskContext) -> Iterable[Item]:
        """20 questions of every subject at `quick`, all 14,042 at `full`; a beginning is spread over all subjects."""
        if ctx.scale == "mini":
            return [_mini_item(each, ctx) for each in mini("multiple_choice_qa", ctx.seed)]
        questions = sorted(_questions(ctx, "test"), key=lambda each: (each.subject, rank(_id(each))))
        shots: dict[str, list[Question]] = {}
        for each in _questions(ctx, "dev"):
            shots.setdefault(each.subject, []).append(each)
        chosen = in_turn(questions, lambda each: each.subject, N_QUICK if ctx.scale == "quick" else None)
        return [_item(each, shots[each.subject][:N_SHOTS], ctx) for each in chosen]

    def mark(self, item: Item, answers: Sequence[Answer]) -> Marked:
        """The likeliest letter, and the letter written; likelihoods that are no numbers choose none, which is wrong."""
        n = len(item.meta["options"])
        likelihoods = tuple(answer.loglikelihood for answer in answers[:n])
        choice = likeliest(likelihoods)
        text = answers[n].text or ""
        marks: dict[str, float | None] = {"acc": _right(choice, item)}
        letter = (text[-1:] or _last(item)) if item.meta["published"] else _letter(text)
        marks["letter"] = float(letter == item.gold)
        marks["invalid"] = float(letter not in LETTERS[:n])
        by_mark: dict[str, tuple[float | None, ...]] = {}
        if by_text := tuple(answer.loglikelihood for answer in answers[n + 1 :]):
            by_mark = {"acc_text": by_text, "acc_text_norm": by_length(by_text, item.meta["options"])}
            marks |= {name: _right(likeliest(values), item) for name, values in by_mark.items()}
        return Marked(
            marks=marks,
            # By likelihood there always is an answer: only where the letter decides can it be missing.
            flags={"unparsed": item.meta["published"] and bool(marks["invalid"]), "empty": False, "truncated": False},
            answer=text,
            choice=choice,
            options=item.meta["options"],
            loglikelihoods=likelihoods,
            by_mark=by_mark,
        )

    def summarise(self, scored: Sequence[Scored]) -> Mapping[str, Estimate]:
        """Micro-averages over all questions and over each group of subjects.

        Subjects are no clusters: all of them are asked, so none could have been missed.
        """
        found = averages(scored, self.metrics)
        for group in sorted(set(GROUP.values()) & {item.stratum for item, _ in scored if item.stratum}):
            part = [each for each in scored if each.item.stratum == group]
            found[f"acc_{group}"] = average(part, "acc", "proportion")
        return found


def _right(choice: int | None, item: Item) -> float:
    return float(choice is not None and LETTERS[choice] == item.gold)


def _letter(text: str) -> str:
    """The letter that an answer begins with, standing alone; "" where it doesn't."""
    plain = text.strip().lstrip("(")
    return plain[:1] if plain[:1] in LETTERS and not plain[1:2].isalnum() else ""


def _last(item: Item) -> str:
    """What the published script sees when nothing was written: the end of the prompt."""
    return item.requests[-1].context[-1:]


def question_text(question: Question, *, published: bool) -> str:
    """A question with its options, open for the answer."""
    text = question.text if published else question.text.strip()
    lines = [
        text,
        # The published script reads with pandas, for which "None" is a missing cell.
        *(
            f"{letter}. {'nan' if published and option == 'None' else option}"
            for letter, option in zip(LETTERS, question.options, strict=True)
        ),
        "Answer:",
    ]
    return "\n".join(lines)


def prompt(question: Question, shots: Sequence[Question], *, published: bool) -> str:
    """Header, solved questions, the question. The published header has two spaces before the subject."""
    subject = question.subject.replace("_", " ")
    space = " " if published else ""
    parts = [f"The following are multiple choice questions (with answers) about {space}{subject}."]
    parts += [f"{question_text(shot, published=published)} {shot.answer}" for shot in shots]
    return "\n\n".join([*parts, question_text(question, published=published)])


def conversation(question: Question, shots: Sequence[Question]) -> list[dict[str, str]]:
    """The same as turns: the header stands in the first one, and the assistant answers with the letter alone."""
    first = prompt(shots[0] if shots else question, [], published=False)
    asks = [first, *(question_text(each, published=False) for each in [*shots[1:], question][: len(shots)])]
    turns = [{"role": "user", "content": ask} for ask in asks]
    answers = [{"role": "assistant", "content": shot.answer} for shot in shots]
    return [turn for pair in zip(turns, answers, strict=False) for turn in pair] + turns[len(answers) :]


def _text(question: Question, shots: Sequence[Question], ctx: TaskContext) -> str:
    if ctx.chat is None or ctx.mode == "compat":
        return prompt(question, shots, published=ctx.mode == "compat")
    return ctx.chat(conversation(question, shots))


def _item(question: Question, shots: Sequence[Question], ctx: TaskContext) -> Item:
    published = ctx.mode == "compat"
    window = PUBLISHED_WINDOW if published else ctx.max_length - 1
    kept = list(shots)
    text = _text(question, kept, ctx)
    while kept and len(text) > window and len(ctx.encode(text)) > window:
        kept.pop()
        text = _text(question, kept, ctx)
    n_letter = 1 if published else len(ctx.encode("Answer: A")) - len(ctx.encode("Answer:"))
    return Item(
        id=_id(question),
        requests=(
            *(Ask(kind="loglikelihood", context=text, continuation=f"{glue(ctx)}{letter}") for letter in LETTERS),
            Ask(kind="generate_until", context=text, max_new_tokens=max(1, n_letter)),
        ),
        stratum=GROUP[question.subject],
        question=question.text,
        gold=question.answer,
        meta={"options": question.options, "published": published, "n_shots": len(kept)},
    )


def _mini_item(each: Mapping[str, Any], ctx: TaskContext) -> Item:
    options = tuple(str(option) for option in each["choices"])
    letters = LETTERS[: len(options)]
    requests = [Ask(kind="loglikelihood", context=each["prompt"], continuation=f" {letter}") for letter in letters]
    requests.append(Ask(kind="generate_until", context=each["prompt"], until=("\n",), max_new_tokens=4))
    # With the end of the line, a text's likelihood is that of the whole answer, whatever its length.
    requests += [Ask(kind="loglikelihood", context=each["prompt_text"], continuation=f" {text}\n") for text in options]
    return Item(
        id=each["id"],
        requests=tuple(requests),
        cluster=each["cluster"],
        stratum=each["stratum"],
        question=each["question"],
        gold=each["gold"][0],
        meta={"options": options, "published": False},
    )


def _id(question: Question) -> str:
    return f"{question.subject}-{question.number:04d}"


def _questions(ctx: TaskContext, split: str) -> list[Question]:
    """All questions of a split, in the files' order."""
    found = []
    for subject in sorted(GROUP):
        text = read(ctx.data_root, f"mmlu/{split}/{subject}_{split}.csv")
        for number, row in enumerate(csv.reader(io.StringIO(text))):
            if len(row) != 6 or row[5] not in LETTERS:
                raise UserError(f"mmlu/{split}/{subject}_{split}.csv: row {number + 1} isn't a question")
            found.append(Question(subject, number, row[0], tuple(row[1:5]), row[5]))
    return found


TASK = MultipleChoiceQA()
