"""Compression: one method a file, the walk over blocks, the formats. Knows no task."""
