"""Milliseconds, bytes and joules, several models in turn."""
