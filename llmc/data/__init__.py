"""Pinned datasets, local mirrors and calibration tokens."""
