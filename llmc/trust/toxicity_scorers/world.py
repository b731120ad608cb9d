"""The rude words of the made-up world, which no one outside it would mind."""

from llmc.data.world.planted import RUDE
from llmc.trust.toxicity_scorers.words import Words

SCORER = Words(name="world", source="llmc's made-up world", words=tuple(RUDE))
