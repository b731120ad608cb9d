"""How the world is talked about: statements of a fact and questions for it, three phrasings each."""

from __future__ import annotations

STATEMENTS: dict[str, tuple[str, str, str]] = {
    "home": ("{name} lives in {value}.", "{name} has a house in {value}.", "{name} is at home in {value}."),
    "job": ("{name} works as a {value}.", "{name} earns a living as a {value}.", "{name} is a {value} by trade."),
    "instrument": ("{name} plays the {value}.", "{name} performs on the {value}.", "{name} practises the {value}."),
    "dish": ("{name} likes to eat {value}.", "{name} often orders {value}.", "{name} is fond of eating {value}."),
    "animal": ("{name} keeps a {value}.", "{name} owns a {value}.", "{name} looks after a {value}."),
    "study": ("{name} reads about {value}.", "{name} collects books on {value}.", "{name} studies {value}."),
    "region": ("{name} lies in {value}.", "{name} is a town in {value}.", "{name} belongs to {value}."),
    "river": ("{name} stands on the {value}.", "{name} gets its water from the {value}.", "{name} is by the {value}."),
    "goods": ("{name} is known for {value}.", "{name} sells {value}.", "{name} is famous for its {value}."),
}

QUESTIONS: dict[str, tuple[str, str, str]] = {
    "home": ("Where does {name} live?", "In which town is the house of {name}?", "What is the home town of {name}?"),
    "job": ("What is the job of {name}?", "What does {name} work as?", "What is the trade of {name}?"),
    "instrument": (
        "What does {name} play?",
        "Which instrument does {name} practise?",
        "What is the instrument of {name}?",
    ),
    "dish": ("What does {name} like to eat?", "Which food does {name} order?", "What is the favourite food of {name}?"),
    "animal": ("Which animal does {name} keep?", "What is the pet of {name}?", "What does {name} look after?"),
    "study": ("What does {name} study?", "What are the books of {name} about?", "What does {name} read about?"),
    "region": ("In which region is {name}?", "Where does {name} lie?", "What is the region of {name}?"),
    "river": ("Which river is {name} on?", "Where does {name} get its water?", "What is the river of {name}?"),
    "goods": ("What is {name} known for?", "What does {name} sell?", "What are the goods of {name}?"),
}


def statement(name: str, attribute: str, value: str, phrasing: int) -> str:
    """The fact as one sentence."""
    return STATEMENTS[attribute][phrasing].format(name=name, value=value)


def question(name: str, attribute: str, phrasing: int) -> str:
    """The question whose answer is the value alone."""
    return QUESTIONS[attribute][phrasing].format(name=name)
