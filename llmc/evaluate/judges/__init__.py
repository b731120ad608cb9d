"""Opinions on written answers, one judge a file. Each names itself and its revision in every result."""
