"""One reader a file kind: bounded in size and depth, typed, and with one sentence for what is wrong."""
