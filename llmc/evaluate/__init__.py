"""Tasks, the request engine, statistics and the run directory. Knows no compression method."""
