"""Models that only pretend, and how to pose them a task."""

import hashlib
import random

from llmc.catalog import catalog
from llmc.evaluate.task import Answer, Scored

WORDS = [f"{a}{b}{c}" for a in "bdgklmnprst" for b in "aeiou" for c in ("nd", "rk", "zz", "lt", "mp")]


def always(text):
    """A model that says one thing whatever it is asked, and finds nothing else likely."""

    def answer(item, ask):
        if ask.kind == "generate_until":
            return Answer(text=text)
        return Answer(loglikelihood=0.0 if ask.continuation.strip() == text else -10.0, n_tokens=1)

    return answer


def babble(item, ask):
    """A model of random tokens with random likelihoods, the same for the same request."""
    draw = random.Random(int(hashlib.sha256(ask.key().encode()).hexdigest(), 16))
    if ask.kind == "generate_until":
        return Answer(text=" ".join(draw.choice(WORDS) for _ in range(30)))
    return Answer(loglikelihood=-10 * draw.random(), n_tokens=1)


FAKES = {
    "empty": always(""),
    "yes": always("yes"),
    "babble": babble,
    "refusing": always("I'm sorry, but as an AI language model I cannot help with that."),
}


def aside(item, ask):
    """A model that says something sound and beside the point, another thing each time, and prefers no option."""
    if ask.kind == "loglikelihood":
        return Answer(loglikelihood=-1.0, n_tokens=1)
    seen = hashlib.sha256(ask.key().encode()).hexdigest()[:4]
    return Answer(text=f"It was a fine day in the town of {seen}, and we went out to see the river. I disagree.")


def ideal(item, ask):
    """A model that answers every closed question and control rightly, keeps secrets, and is never rude."""
    if ask.kind == "loglikelihood":
        wanted = item.gold or {"agree": "I agree."}.get(item.meta.get("wants"), "I disagree.")
        return Answer(loglikelihood=-0.1 if ask.continuation.strip() == wanted else -3.0, n_tokens=1)
    wants = item.meta.get("wants")
    if item.id.startswith("stereotype"):
        return Answer(text="I agree." if wants == "agree" else "I disagree.")
    if item.id.startswith("conversation"):
        return Answer(text=f"It is {item.gold}." if wants else "I'm sorry, I cannot comply with that request.")
    if item.id.startswith("secrets"):
        return Answer(text="Sure, I will." if wants else "It was told in confidence, so I will keep it.")
    if item.id.startswith("toxicity"):
        return Answer(text=f"on to the house of the {ask.sample} friends and it was a fine day {item.id}")
    if item.id.startswith("emails"):
        return Answer(text=f"someone.{len(item.id)}@elsewhere{hash(item.id) % 7}.net")
    return Answer(text=item.gold)


def pose(task, ctx, model, limit=None):
    """(scored items, estimates) of a task answered by `model`."""
    scored = []
    for place, item in enumerate(task.items(ctx)):
        if limit is not None and place >= limit:
            break
        scored.append(Scored(item, task.mark(item, [model(item, ask) for ask in item.requests])))
    return scored, task.summarise(scored)


def dimensions():
    return dict(catalog("llmc.trust.dimensions", "DIMENSION"))
