"""A user's folder, a run trained there, and the command line in this process."""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

import interp
from interp.cli import commands
from interp.runs.run import Run
from tests.interp.own.files import in_another_process, write_files

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    in_another_process(monkeypatch)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder with largest.py, bag_of_tokens.py, answer_lead.py and own.toml."""
    return write_files(tmp_path / "mine").parent


@pytest.fixture
def own_run(mine: Path, tmp_path: Path) -> Run:
    """A finished run of the user's own task."""
    return interp.train(interp.load_experiment(mine / "own.toml"), tmp_path / "run", device="cpu")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command line in this process: exit code, output, errors."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["interp", *map(str, arguments)])
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            with pytest.raises(SystemExit) as stopped:
                commands.main()
        printed = capsys.readouterr()
        return int(stopped.value.code or 0), printed.out, printed.err

    return call
