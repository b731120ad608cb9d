"""From messages to the text that a model reads: the published path with its faults, and the right one."""
