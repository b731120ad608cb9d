"""Run directories: written, read, and named as baselines."""
