"""The run-time type checker of the tests: an int is a float, as PEP 484 and pyright have it."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
