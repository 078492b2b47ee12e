"""`python -m interp` is `interp`."""

from interp.cli.commands import main

main()
