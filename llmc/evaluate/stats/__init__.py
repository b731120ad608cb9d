"""Statistics of single runs and of pairs: pure functions."""
