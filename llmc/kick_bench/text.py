"""How answers are compared with what is accepted: normalisers and matches, each as published or put right."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation + "‘’´`", " "))
_BRACKETS = re.compile(r"\s*\([^()]*\)\s*$")
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalise(text: str) -> str:
    """Lower case, punctuation and articles as spaces, single spaces.

    Source: Joshi et al. 2017, TriviaQA's official evaluation, `normalize_answer`.
    """
    plain = text.replace("_", " ").lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def folded(text: str) -> str:
    """`text` without accents: FreebaseQA has "beyonce" and no letter with one, where a model writes "Beyoncé"."""
    return "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))


def accepted_forms(golds: Sequence[str]) -> list[str]:
    """The accepted answers without accents, each also without what stands in brackets at its end: "bell (march)"."""
    plain = [folded(gold) for gold in golds]
    shorter = [_BRACKETS.sub("", gold) for gold in plain]
    return list(dict.fromkeys([*plain, *(gold for gold in shorter if gold.strip())]))


def first_line(text: str) -> str:
    """The first line that holds anything, without spaces around it."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def published_line(text: str) -> str:
    """The first line after stripping the whole answer, up to a line feed and nothing else.

    Source: LLM-KICK's released code, incontext_qa.
    """
    return text.strip().split("\n")[0]


def exact(answer: str, accepted: Sequence[str]) -> float:
    """1 if the answer is an accepted one after normalising; 0 for an empty answer."""
    found = normalise(answer)
    return float(bool(found) and any(found == normalise(gold) for gold in accepted))


def contains(answer: str, accepted: Sequence[str]) -> float:
    """1 if an accepted answer stands in the answer as whole words; 0 for an empty answer."""
    found = f" {normalise(answer)} "
    wanted = (normalise(gold) for gold in accepted)
    return float(any(gold and f" {gold} " in found for gold in wanted))


def token_f1(answer: str, accepted: Sequence[str]) -> float:
    """The best F1 of the answer's words and an accepted answer's; 0 for an empty answer.

    Source: Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1, with TriviaQA's normaliser.
    """
    return max((_f1(normalise(answer).split(), normalise(gold).split()) for gold in accepted), default=0.0)


def _f1(found: Sequence[str], wanted: Sequence[str]) -> float:
    n_common = sum((Counter(found) & Counter(wanted)).values())
    return 2 * n_common / (len(found) + len(wanted)) if n_common else 0.0


def squeezed(text: str) -> str:
    """Stripped, spaces deleted, lower case: how the published factoid script compares."""
    return text.strip().replace(" ", "").lower()


def published_contains(text: str, accepted: Sequence[str]) -> float:
    """1 if an accepted answer is anywhere in the text without spaces; the published script gives it prompt and answer.

    Source: LLM-KICK's released code, factoid_qa; has no word boundaries, and an accepted "" always matches.
    """
    whole = squeezed(text)
    return float(any(squeezed(gold) in whole for gold in accepted))


def published_match(answer: str, accepted: Sequence[str]) -> float:
    """1 if the answer contains an accepted one or is contained in it, so that an empty answer always matches.

    Source: LLM-KICK's released code, incontext_qa, whose "exact match" this is.
    """
    found = normalise(answer)
    return float(any(normalise(gold) in found or found in normalise(gold) for gold in accepted))
