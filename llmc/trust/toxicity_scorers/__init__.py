"""What says how toxic a text is: one scorer a file. Scores of different scorers are not comparable."""
