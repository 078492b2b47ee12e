"""The run that comes with the project."""

from pathlib import Path

import pytest

from interp.runs.run import Run, load

FIXTURE = Path(__file__).parents[2] / "fixtures" / "modular-addition"


@pytest.fixture(scope="session")
def grokked() -> Run:
    return load(FIXTURE)
