"""FastChat's conversation templates of 2023, with which both suites' published numbers were asked for.

Source: lm-sys/FastChat (Apache-2.0), `fastchat/conversation.py` as copied by decoding-comp-trust/comp-trust,
`compression/gptq/conversation.py` (MIT). A model whose name FastChat did not know got `one_shot`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

Template = Literal["llama-2", "vicuna_v1.1", "redpajama-incite-instruct", "one_shot"]

LLAMA_2_SAFETY = (
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe. "
    "Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content. "
    "Please ensure that your responses are socially unbiased and positive in nature.\n\n"
    "If a question does not make any sense, or is not factually coherent, explain why instead of answering something "
    "not correct. If you don't know the answer to a question, please don't share false information."
)
VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
ONE_SHOT_SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
DEFAULT_SYSTEM: dict[Template, str] = {
    "llama-2": f"<s>[INST] <<SYS>>\n{LLAMA_2_SAFETY}\n<</SYS>>\n\n",
    "vicuna_v1.1": VICUNA_SYSTEM,
    "redpajama-incite-instruct": "",
    "one_shot": ONE_SHOT_SYSTEM,
}
EXAMPLE_QUESTION = "Got any creative ideas for a 10 year old’s birthday?"
EXAMPLE_ANSWER = """Of course! Here are some creative ideas for a 10-year-old's birthday party:
1. Treasure Hunt: Organize a treasure hunt in your backyard or nearby park. Create clues and riddles for the kids \
to solve, leading them to hidden treasures and surprises.
2. Science Party: Plan a science-themed party where kids can engage in fun and interactive experiments. You can set \
up different stations with activities like making slime, erupting volcanoes, or creating simple chemical reactions.
3. Outdoor Movie Night: Set up a backyard movie night with a projector and a large screen or white sheet. Create a \
cozy seating area with blankets and pillows, and serve popcorn and snacks while the kids enjoy a favorite movie under \
the stars.
4. DIY Crafts Party: Arrange a craft party where kids can unleash their creativity. Provide a variety of craft \
supplies like beads, paints, and fabrics, and let them create their own unique masterpieces to take home as party \
favors.
5. Sports Olympics: Host a mini Olympics event with various sports and games. Set up different stations for \
activities like sack races, relay races, basketball shooting, and obstacle courses. Give out medals or certificates \
to the participants.
6. Cooking Party: Have a cooking-themed party where the kids can prepare their own mini pizzas, cupcakes, or \
cookies. Provide toppings, frosting, and decorating supplies, and let them get hands-on in the kitchen.
7. Superhero Training Camp: Create a superhero-themed party where the kids can engage in fun training activities. Set \
up an obstacle course, have them design their own superhero capes or masks, and organize superhero-themed games and \
challenges.
8. Outdoor Adventure: Plan an outdoor adventure party at a local park or nature reserve. Arrange activities like \
hiking, nature scavenger hunts, or a picnic with games. Encourage exploration and appreciation for the outdoors.
Remember to tailor the activities to the birthday child's interests and preferences. Have a great celebration!"""


class Turn(NamedTuple):
    """A message without its role's name; `text` is None where the model answers."""

    is_user: bool
    text: str | None


def render(turns: Sequence[Turn], template: Template, *, header: str | None = None) -> str:
    """The prompt. `header` takes the place of the template's own; None keeps it."""
    head = DEFAULT_SYSTEM[template] if header is None else header
    if template == "llama-2":
        return _llama_2(head, turns)
    if template == "vicuna_v1.1":
        return _vicuna(head, turns)
    return _one_shot(head, turns) if template == "one_shot" else _redpajama(head, turns)


def guess(rendered: str | None) -> Template:
    """The template nearest to a model's own, from how that renders a message; `one_shot` for every other."""
    text = rendered or ""
    return "vicuna_v1.1" if "USER:" in text else "llama-2" if "[INST]" in text else "one_shot"


def _llama_2(header: str, turns: Sequence[Turn]) -> str:
    text = ""
    for place, turn in enumerate(turns):
        role = "[INST]" if turn.is_user else "[/INST]"
        if not turn.text:
            text += role
        elif place == 0:
            text += header + turn.text
        else:
            text += f"{role} {turn.text}{(' ', ' </s><s>')[place % 2]}"
    return text


def _vicuna(header: str, turns: Sequence[Turn]) -> str:
    text = header + " "
    for place, turn in enumerate(turns):
        role = "USER" if turn.is_user else "ASSISTANT"
        text += f"{role}: {turn.text}{(' ', '</s>')[place % 2]}" if turn.text else f"{role}:"
    return text


def _redpajama(header: str, turns: Sequence[Turn]) -> str:
    text = header
    for turn in turns:
        if not turn.text:
            text += "answer:"
        else:
            text += f"{turn.text}\n" if turn.is_user else f"answer: {turn.text}\n"
    return text


def _one_shot(header: str, turns: Sequence[Turn]) -> str:
    text = f"{header}\n### " if header else ""
    for turn in (Turn(True, EXAMPLE_QUESTION), Turn(False, EXAMPLE_ANSWER), *turns):
        role = "Human" if turn.is_user else "Assistant"
        text += f"{role}: {turn.text}\n### " if turn.text else f"{role}:"
    return text
