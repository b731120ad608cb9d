"""From two runs to rows with verdicts, and one exit code. Writes nothing."""
