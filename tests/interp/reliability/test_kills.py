"""Real processes that are killed at any moment of the clock lose nothing.

`interp` as a user starts it, ended by kill -9 from outside; the command, given again, must leave
the bytes of a run that was never killed. `test_reliability.py` beside it kills at chosen
operations on files, which is quicker and misses none of them.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import pytest
import tomli_w

from tests.interp.conftest import ROOT
from tests.planted import tiny_experiment

pytestmark = pytest.mark.slow

SOME = ("--only", "FourierSpectrum", "--only", "FourierCircuit", "--only", "ProbeAccuracy")
# Each stage's command, and a pattern of what it writes first.
STAGES: dict[str, tuple[tuple[str, ...], str]] = {
    "train": (("train", "tiny.toml", "--out", "run", "--device", "cpu"), "run/environment.json"),
    "analyze": (("analyze", "run", *SOME), "run/results"),
    "report": (("report", "run", "--out", "pages"), "pages"),
    "import": (
        ("import", "run/checkpoints", "--out", "others/run", "--task", "run/experiment.toml",
         "--act-fn", "relu", "--normalization-type", "none"),
        ".interp-import-*",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Unbroken:
    """Folders before and after each stage, and the seconds from its first file to its end."""

    before: Mapping[str, Path]
    after: Mapping[str, Path]
    seconds: Mapping[str, float]


def begun(name: str, here: Path) -> subprocess.Popen[bytes]:
    """A stage at work that has begun to write."""
    words, first = STAGES[name]
    process = subprocess.Popen(
        [sys.executable, "-m", "interp", *words],
        cwd=here,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not any(here.glob(first)):
        time.sleep(0.001)
    return process


def cut(name: str, here: Path, seconds: float) -> int:
    """The exit status of a stage that is killed so long after it has begun to write."""
    process = begun(name, here)
    time.sleep(seconds)
    process.kill()
    return process.wait()


def files(here: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too but leases, by its path."""
    found = (file for file in here.rglob("*") if file.is_file() and ".lease." not in file.name)
    return {file.relative_to(here).as_posix(): file.read_bytes() for file in found}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    place, before, after, seconds = tmp_path_factory.mktemp("unbroken"), {}, {}, {}
    here = place / "start"
    here.mkdir()
    (here / "tiny.toml").write_text(tiny_experiment(steps=300).to_toml())
    for name in STAGES:
        before[name], here = here, shutil.copytree(here, place / name)
        process, start = begun(name, here), time.monotonic()
        assert process.wait() == 0
        after[name], seconds[name] = here, time.monotonic() - start
    return Unbroken(before, after, seconds)


@pytest.fixture
def killed(unbroken: Unbroken, tmp_path: Path) -> Callable[[str, int], Path]:
    """A folder in which a stage was killed at a moment drawn by seed, early enough to meet it."""

    def killed(name: str, seed: int) -> Path:
        seconds, tries = Random(f"{name} {seed}").uniform(0, unbroken.seconds[name]), 0
        here = shutil.copytree(unbroken.before[name], tmp_path / "0")
        while (status := cut(name, here, seconds)) == 0:  # it was done before
            seconds, tries = seconds / 2, tries + 1
            here = shutil.copytree(unbroken.before[name], tmp_path / str(tries))
        assert status == -signal.SIGKILL
        return here

    return killed


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", STAGES)
def test_a_process_killed_at_any_moment_is_finished_by_the_same_command(
    killed, unbroken, name, seed
):
    here = killed(name, seed)
    assert begun(name, here).wait() == 0
    assert files(here) == files(unbroken.after[name])


SWEEP = ("sweep", "many.toml", "--out", "many", "--device", "cpu", "--workers", "2")


class Swept:
    """`interp sweep` with two workers, in a process group of its own, so that none is left."""

    def __init__(self, here: Path) -> None:
        self.here = here
        self.process = subprocess.Popen(
            [sys.executable, "-m", "interp", *SWEEP],
            cwd=here,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=partial(
                signal.signal, signal.SIGINT, signal.SIG_DFL
            ),  # a shell may ignore it
        )

    def has_processes(self) -> bool:
        """Whether any process of the group lives, its parent or a worker."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def end(self) -> None:
        """Kills whatever is left of the group."""
        if self.has_processes():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def swept(tmp_path: Path) -> Iterator[Callable[[str], Swept]]:
    """Starts the sweep in a folder; whatever is left of it in the end is killed."""
    begun_here: list[Swept] = []

    def swept(name: str) -> Swept:
        here = tmp_path / name
        here.mkdir(exist_ok=True)
        base = tiny_experiment(
            steps=1500, evaluate={"every": 100}, checkpoints={"every": 100}
        ).model_dump(mode="json", exclude_none=True)
        text = tomli_w.dumps({"base": base, "seeds": 3})
        (here / "many.toml").write_text(text)
        begun_here.append(Swept(here))
        return begun_here[-1]

    yield swept
    for each in begun_here:
        each.end()


def within(seconds: float, is_so: Callable[[], bool]) -> bool:
    """Whether something comes about in a time that is ample."""
    last = time.monotonic() + seconds
    while not is_so() and time.monotonic() < last:
        time.sleep(0.05)
    return is_so()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent_and_the_same_command_goes_on(how, swept):
    broken = swept("broken")
    many = broken.here / "many"
    assert within(200, lambda: len(list(many.glob("*/checkpoints/200.safetensors"))) > 1)
    broken.process.send_signal(how)  # to the parent alone
    broken.process.wait(timeout=100)
    assert within(100, lambda: not broken.has_processes())
    assert len(list(many.glob("*/checkpoints/1500.safetensors"))) < 3
    again, whole = swept("broken"), swept("whole")
    assert (again.process.wait(), whole.process.wait()) == (0, 0)
    assert files(again.here) == files(whole.here)
