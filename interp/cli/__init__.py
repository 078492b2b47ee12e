"""The command line."""

from interp.cli.commands import main

__all__ = ["main"]
