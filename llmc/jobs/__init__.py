"""What a command does, apart from its words: one job a file."""
