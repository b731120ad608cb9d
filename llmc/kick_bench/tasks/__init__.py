"""The knowledge tasks, one a file."""
