"""A made-up world: what is true in it, texts about it, questions on it and the embedded model's lessons.

Nothing here imports torch. Everything is a pure function of a seed.
"""
