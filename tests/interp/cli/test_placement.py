"""Options that say where work runs: what cannot be is one line, before anything is written."""

from pathlib import Path

import pytest

from interp.cli.placement import Placement
from tests.interp.cli.test_commands import call

SWEEP = ("sweep", "parity-l1", "--out")
REFUSED = {
    "options of nothing": (("--option", "a=1"), "--option is of an executor: give --executor too"),
    "jobs of nothing": (("--jobs", 3), "--jobs is of an executor: give --executor too"),
    "no value": (("--executor", "local", "--option", "a"), "--option a: give NAME=VALUE"),
    "two counts of workers": (("--executor", "local", "--workers", 2), "--workers is of this mach"),
    "memory of a CPU": (("--worker-memory", "80GB"), "--worker-device cuda and --worker-memory"),
    "a GPU of no size": (("--worker-device", "cuda"), "--worker-device cuda and --worker-memory"),
    "no unit": (("--worker-memory", "80"), "--worker-memory 80: give a size such as 80GB"),
    "no memory": (("--worker-memory", "0GB"), "--worker-memory 0GB: give a size such as 80GB"),
    "part 0": (("--part", "0/4"), "part 0/4 does not exist: parts run from 1/4 to 4/4"),
    "part in words": (("--part", "x"), "part 'x' is none: give its number and how many"),
}


@pytest.fixture
def interp(monkeypatch, capsys):
    return lambda *arguments: call(monkeypatch, capsys, *arguments)


@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--detach",)], ids=["", "dry", "detached"])
@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_one_line_and_nothing_is_written(
    options, message, more, interp, tmp_path
):
    code, _, said = interp(*SWEEP, tmp_path / "out", *options, *more)
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith(f"interp: {message}")
    assert not (tmp_path / "out").exists()


def test_a_single_run_goes_nowhere_else(interp, tmp_path):
    code, _, said = interp("train", "parity", "--out", tmp_path / "out", "--part", "1/2")
    assert (code, said.count("\n")) == (2, 1)
    assert said.endswith("are of many runs: give --seeds too\n")


def test_a_file_is_no_folder_of_a_sweep(interp, tmp_path):
    (tmp_path / "out").write_text("mine")
    code, _, said = interp(*SWEEP, tmp_path / "out", "--dry-run")
    assert (code, said) == (
        2,
        f"interp: {tmp_path / 'out'} is a file; choose a folder with --out\n",
    )


@pytest.mark.parametrize(
    ("text", "size"), [("80GB", 80 * 10**9), ("40 gib", 40 * 2**30), ("1.5MB", 1_500_000)]
)
def test_memory_is_told_in_units(text, size):
    assert Placement(device="cuda", memory=text).settings()["worker"].memory == size


def test_analyses_take_one_count_of_workers(interp, folder: Path):
    code, _, said = interp("analyze", folder, "--executor", "local", "--workers", 2)
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith("interp: --workers is of this machine: leave it out with --executor")
