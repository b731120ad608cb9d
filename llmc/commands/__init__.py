"""The command line, one command a file: parse, call, render; no decisions.

A file here ends in `COMMAND`: a function with Typer parameters or a `typer.Typer` of sub-commands. What a
command needs beyond typer and rich it imports when it runs, so that `llmc --help` stays quick and needs no torch.
"""
