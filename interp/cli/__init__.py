"""The command line: `interp`, or `python -m interp`."""

from interp.cli.commands import main

__all__ = ["main"]
