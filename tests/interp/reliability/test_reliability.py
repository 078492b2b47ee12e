"""Commands that are killed, run out of disk or meet each other lose nothing.

Each command runs in a child of its own (`command`). A killed one is given again: it must finish
what was left, no more, and leave the bytes of a run that was never killed. A point is an operation
on a file, drawn by seed (`mishaps.py` beside this says why that is every moment there is).
"""

import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from interp.runs.checkpoint_files import Checkpoint
from tests.planted import tiny_experiment

ANALYSES = ("GrokkingPhases", "FourierSpectrum", "FourierCircuit", "WeightNorms")
ONLY = [word for name in ANALYSES for word in ("--only", name)]
STAGES: dict[str, tuple[str, ...]] = {
    "train": ("train", "{here}/tiny.toml", "--out", "{here}/run"),
    "analyze": ("analyze", "{here}/run", *ONLY),
    "report": ("report", "{here}/run", "--out", "{here}/pages"),
    "import": (
        "import", "{here}/run/checkpoints", "--out", "{here}/others/run", "--task",
        "{here}/run/experiment.toml", "--act-fn", "relu", "--normalization-type", "none",
    ),
}  # fmt: skip
SEEDS = [pytest.param(seed, marks=[pytest.mark.slow] if seed >= 5 else []) for seed in range(50)]


def files(here: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too but leases, by its path."""
    found = (file for file in here.rglob("*") if file.is_file() and ".lease." not in file.name)
    return {file.relative_to(here).as_posix(): file.read_bytes() for file in found}


def stage(name: str, here: Path) -> list[str]:
    return [word.format(here=here) for word in STAGES[name]]


def written(here: Path, reply: Mapping[str, Any]) -> set[str]:
    """The files that a command wrote, by their path."""
    names = (each.removeprefix("rename ") for each in reply["operations"] if "rename" in each)
    return {Path(name).relative_to(here).as_posix() for name in names}


@dataclass(frozen=True)
class Unbroken:
    """Folders as they are before and after each stage, and its operations."""

    before: Mapping[str, Path]
    after: Mapping[str, Path]
    operations: Mapping[str, int]


@pytest.fixture(scope="module")
def unbroken(command, tmp_path_factory) -> Unbroken:
    place, before, after, operations = tmp_path_factory.mktemp("unbroken"), {}, {}, {}
    here = place / "start"
    here.mkdir()
    (here / "tiny.toml").write_text(tiny_experiment().to_toml())
    for name in STAGES:
        before[name], here = here, shutil.copytree(here, place / name)
        reply = command(*stage(name, here))
        assert reply["code"] == 0
        after[name], operations[name] = here, len(reply["operations"])
    return Unbroken(before, after, operations)


@pytest.fixture
def begun(unbroken, tmp_path):
    """A copy of the folder as it is before a stage."""
    return lambda name: shutil.copytree(unbroken.before[name], tmp_path / "here")


@pytest.fixture
def killed(command, begun, unbroken):
    """A folder in which a stage was killed at a point drawn by seed."""

    def killed(name: str, seed: int) -> Path:
        here, random = begun(name), Random(f"{name} {seed}")
        point = {"operation": random.randrange(unbroken.operations[name]), "part": random.random()}
        assert command(*stage(name, here), **point) == {"signal": signal.SIGKILL}
        return here

    return killed


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_training_makes_the_updates_that_were_left(command, killed, unbroken, seed):
    here = killed("train", seed)
    state = here / "run" / "state.safetensors"
    made = Checkpoint(state).facts["step"] if state.exists() else 0
    assert command(*stage("train", here))["updates"] == 40 - made
    assert files(here) == files(unbroken.after["train"])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["analyze", "report"])
def test_a_killed_command_writes_what_was_left(command, killed, unbroken, name, seed):
    here = killed(name, seed)
    left = files(unbroken.after[name]).keys() - files(here).keys()
    assert written(here, command(*stage(name, here))) == left
    assert files(here) == files(unbroken.after[name])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_import_is_done_by_the_same_command(command, killed, unbroken, seed):
    here = killed("import", seed)
    assert command(*stage("import", here))["code"] == 0
    assert files(here) == files(unbroken.after["import"])


def test_an_import_killed_after_its_move_is_done_by_the_same_command(command, begun, unbroken):
    here, last = begun("import"), unbroken.operations["import"] - 1
    assert command(*stage("import", here), operation=last) == {"signal": signal.SIGKILL}
    (scratch,) = here.glob(".interp-import-*")
    (here / "others").mkdir(exist_ok=True)
    next(scratch.glob("run-*")).rename(here / "others" / "run")  # what the kill came just before
    assert command(*stage("import", here))["code"] == 0
    assert files(here) == files(unbroken.after["import"])


# The size that no file may outgrow, and the first file that would.
FULL = [
    ("train", 3000, "run/checkpoints/0.safetensors"),
    ("train", 10_000, "run/state.safetensors"),
    ("analyze", 2000, "FourierCircuit"),
    ("import", 3000, ".interp-import-"),
    ("report", 30_000, "pages/assets/plotly.min.js"),
]


@dataclass(frozen=True)
class Filled:
    """A stage whose disk was full at a file, and that was given again with room."""

    name: str
    here: Path
    file: str
    reply: Mapping[str, Any]
    left: Mapping[str, bytes]
    again: Mapping[str, bytes]


@pytest.fixture(scope="module", params=FULL, ids=lambda each: f"{each[0]}-{each[1]}")
def filled(request, command, unbroken, tmp_path_factory) -> Filled:
    name, size, file = request.param
    here = shutil.copytree(unbroken.before[name], tmp_path_factory.mktemp("full") / "here")
    reply = command(*stage(name, here), file_size=size)
    left = files(here)
    command(*stage(name, here))
    return Filled(name, here, file, reply, left, files(here))


def test_a_full_disk_is_one_line_that_names_the_file(filled):
    error = filled.reply["err"]
    assert (filled.reply["code"], error.count("\n")) == (2, 1)
    assert error.startswith(f"interp: {filled.here}")
    assert filled.file in error
    assert "could not be written (File too large); nothing is half written" in error


def test_a_full_disk_leaves_no_half_file(filled, unbroken):
    growing = {"run/metrics.jsonl", "run/state.safetensors"}
    left = {path: content for path, content in filled.left.items() if path not in growing}
    assert left.items() <= files(unbroken.after[filled.name]).items()


def test_with_room_again_the_command_goes_on(filled, unbroken):
    assert filled.again == files(unbroken.after[filled.name])


@pytest.mark.parametrize("name", ["train", "report"])
def test_a_folder_that_cannot_be_made_is_one_line(command, begun, name):
    here = begun(name)
    before = files(here)
    *words, _ = stage(name, here)
    reply = command(*words, here / "tiny.toml" / "below" / "a file")
    assert (reply["code"], reply["err"].count("\n")) == (2, 1)
    assert f"{here}/tiny.toml/below/a file" in reply["err"]
    assert "(Not a directory)" in reply["err"]
    assert files(here) == before


@pytest.mark.parametrize("name", STAGES)
def test_a_read_only_folder_is_one_line(command, begun, name):
    here = begun(name)
    reply = command(*stage(name, here), read_only=str(here))
    if "is_forbidden" in reply:
        pytest.skip("this user may not mount a folder read-only")
    assert (reply["code"], reply["err"].count("\n")) == (2, 1)
    assert "(Read-only file system)" in reply["err"]
    assert f"interp: {here}" in reply["err"]


def test_what_is_measured_is_found_again_in_a_read_only_folder(command, unbroken):
    here = unbroken.after["analyze"]
    reply = command(*stage("analyze", here), read_only=str(here))
    if "is_forbidden" in reply:
        pytest.skip("this user may not mount a folder read-only")
    assert (reply["code"], reply["operations"]) == (0, [])


@dataclass(frozen=True)
class Met:
    """A stage that stood still in the middle, met by every other, and that then went on."""

    name: str
    here: Path
    replies: Mapping[str, Mapping[str, Any]]
    went_on: Mapping[str, Any]


@pytest.fixture(scope="module", params=["train", "analyze"])
def met(request, command, unbroken, tmp_path_factory) -> Met:
    name = request.param
    here = shutil.copytree(unbroken.before[name], tmp_path_factory.mktemp("met") / "here")
    process = command(*stage(name, here), operation=14, stops=True)["stopped"]
    replies = {second: command(*stage(second, here)) for second in ("train", "analyze", "report")}
    return Met(name, here, replies, command(go_on=process))


@pytest.mark.parametrize("second", ["train", "analyze"])
def test_a_second_process_says_that_the_run_is_in_use(met, second):
    reply = met.replies[second]
    assert (reply["code"], reply["err"].count("\n"), reply["operations"]) == (2, 1, [])
    assert reply["err"].startswith(f"interp: {met.here}/run is in use: another process is")


def test_the_first_process_is_not_disturbed_by_others(met, unbroken):
    assert met.went_on["code"] == 0
    shutil.rmtree(met.here / "pages")  # which the unbroken run did not have yet
    assert files(met.here) == files(unbroken.after[met.name])


def test_a_run_that_is_written_to_can_be_read(met):
    assert met.replies["report"]["code"] == 0


@pytest.mark.parametrize(
    "name", ["../../out", "/tmp/out", "..", ".hidden", "a/b", "nul\0", "a\nb", "é", "n" * 81, ""]
)
def test_a_run_name_is_no_way_out_of_the_folder(command, tmp_path, name):
    toml = tmp_path / "inside" / "given.toml"
    toml.parent.mkdir()
    hostile = tiny_experiment().model_copy(update={"name": name})
    toml.write_text(hostile.to_toml())
    reply = command("train", toml, inside=str(toml.parent))
    assert (reply["code"], reply["err"].count("\n")) == (2, 1)
    assert f"{toml}: name: 1 to 80 letters, digits, dots, dashes and underscores" in reply["err"]
    assert files(tmp_path).keys() == {"inside/given.toml"}


def test_a_file_name_makes_a_run_name(command, tmp_path):
    toml = tmp_path / "..my experiment; rm -rf.toml"
    toml.write_text(tiny_experiment(steps=1).to_toml().replace('name = "tiny"\n', ""))
    assert command("train", toml, inside=str(tmp_path))["code"] == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["my-experiment-rm--rf-s0"]
