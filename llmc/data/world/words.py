"""The words of the made-up world: invented names, and the pools that attribute values come from."""

from __future__ import annotations

import random


def listed(text: str) -> tuple[str, ...]:
    """The words of a text that separates them by spaces."""
    return tuple(text.split())


ONSETS = ("b", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z")
VOWELS = ("a", "e", "i", "o", "u")

JOBS = listed(
    "baker barber brewer builder butcher carpenter clerk cobbler cook cooper dancer dentist diver doctor driver dyer "
    "farmer fisher gardener glazier grocer guard guide hatter hunter jeweller judge lawyer locksmith mason mechanic "
    "miller miner nurse painter pilot plumber poet porter potter printer roofer sailor sculptor shepherd smith "
    "surgeon surveyor tailor tanner teacher vet waiter weaver"
)
INSTRUMENTS = listed(
    "banjo bassoon bell bugle cello cittern clarinet cornet cymbal drum dulcimer fiddle fife flute gong guitar harp "
    "horn kazoo lute lyre mandolin marimba oboe organ piano piccolo rattle recorder sitar spinet tabor tambourine "
    "trombone trumpet tuba ukulele viola violin zither"
)
DISHES = listed(
    "apples bacon beans beets berries biscuits bread broth butter cabbage cake carrots cheese cherries chestnuts corn "
    "crab crackers cream dates dumplings figs fudge ginger grapes ham honey jam kale leeks lemons lentils melons "
    "mussels noodles nuts oats olives onions pancakes peas pears pickles pie plums porridge radish rice salad salmon "
    "soup spinach stew toast trout turnips waffles walnuts"
)
ANIMALS = listed(
    "badger bat bear beaver beetle bison buzzard camel canary cat cow crow cuckoo deer dog donkey dove duck falcon "
    "ferret finch fox frog gecko goat goose hamster hare hawk hen heron horse lamb lark lizard magpie mole mouse mule "
    "newt parrot peacock pig pigeon pony puffin rabbit raven robin seal sheep sparrow squirrel stork swan toad turtle "
    "weasel wolf wren"
)
STUDIES = listed(
    "bees birds bridges caves clocks clouds coins comets dreams fables ferns flags fossils glaciers grammar history "
    "insects kites knots lenses lichens logic magnets maps mirrors moths music numbers planets poems ponds reefs "
    "riddles roots shells ships snow songs stars storms tides tombs towers trees tunnels volcanoes waves winds"
)
GOODS = listed(
    "amber baskets brass bricks candles carpets chalk charcoal cider clay copper cotton dye felt flax glass gloves "
    "gravel ink iron ivory lace lamps lead leather linen marble nails oil paper pearls pepper resin rope salt sand "
    "silk silver slate soap steel sugar tar tea tiles timber tin vinegar wax wine wool"
)
THINGS = listed(
    "anchor apron axe ball barrel basin blanket bottle bowl box broom brush bucket button cap chain chair coat comb "
    "cup desk door fan fork gate hammer hat hook jar kettle key knife ladder lantern lock mat mug needle oar pan pen "
    "pillow plate pot purse ring saddle saw scarf shelf shoe shovel spoon stool sword table towel tray vase wheel"
)
SEASONS = ("spring", "summer", "autumn", "winter")


def invented(n: int, rng: random.Random, taken: set[str], *, ending: str = "") -> list[str]:
    """`n` new two-syllable names with a capital; they are added to `taken`, so that no two kinds share a name."""
    names: list[str] = []
    while len(names) < n:
        syllables = [rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(2)]
        name = ("".join(syllables) + (ending or rng.choice(("", "l", "n", "r", "s")))).capitalize()
        if name not in taken:
            taken.add(name)
            names.append(name)
    return names
