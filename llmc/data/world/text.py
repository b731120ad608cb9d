"""Text of the world for calibration and for perplexity; neither repeats a test item or the other."""

from __future__ import annotations

import random

from llmc.data.world.lessons import draw, notes
from llmc.data.world.passages import BINS, passage, story
from llmc.data.world.people import world

CALIBRATION = {
    "notes": 30.0,
    "questions": 25.0,
    "reading": 15.0,
    "choices": 10.0,
    "summaries": 5.0,
    "orders": 5.0,
}


def calibration_text(seed: int = 0, *, n_lessons: int = 900) -> str:
    """About 40,000 tokens of lessons as the model was trained on, newly drawn."""
    rng = random.Random(f"calibration/{seed}")
    return "\n".join("".join(piece for piece, _ in draw(CALIBRATION, rng, 1.0)) for _ in range(n_lessons))


def heldout_documents(seed: int = 0, *, n: int = 240) -> list[str]:
    """Notes on known people in new orders, and texts and stories about unseen people."""
    rng = random.Random(f"heldout/{seed}")
    documents = []
    for i in range(n):
        if i % 2 == 0:
            documents.append("".join(piece for piece, _ in notes(rng)))
        elif i % 4 == 1:
            about, other = rng.sample(world().unseen, 2)
            documents.append(f"Text: {passage(about, [other], rng).text}\n")
        else:
            told = story(rng.choice(world().unseen), rng.choice(list(BINS)), rng)
            documents.append(f"Story: {told.text}\nSummary: {told.summary}\n")
    return documents
