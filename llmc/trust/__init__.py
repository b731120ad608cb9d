"""The suite `trust`: one dimension a file."""
