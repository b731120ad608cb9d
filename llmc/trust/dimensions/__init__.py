"""The trust dimensions, one a file."""
