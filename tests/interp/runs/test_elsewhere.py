"""What other systems than Linux lack is done without: hidden here, as nothing else can be tried."""

import os
import sys

import pytest

from interp.runs.opening import locked
from interp.runs.safe_files import append_whole, write_whole
from interp.sweeps.launch import train_sweep
from interp.training.loop import train
from interp.training.memory import available_memory
from tests.planted import tiny_experiment
from tests.sweeps import tiny_sweep

MISSING = ("O_NOFOLLOW", "O_CLOEXEC", "O_DIRECTORY", "sysconf", "sched_getaffinity")


class Locking:
    """Stands in for the module by which Windows locks bytes of files."""

    LK_NBLCK = 2

    def __init__(self):
        self.held = set()

    def locking(self, file, mode, count):
        assert (mode, count) == (self.LK_NBLCK, 1)
        if os.fstat(file).st_ino in self.held:
            raise PermissionError(13, "Permission denied")
        self.held.add(os.fstat(file).st_ino)


@pytest.fixture
def windows(monkeypatch):
    """This process without what Windows lacks."""
    for name in MISSING:
        monkeypatch.delattr(os, name)
    module = Locking()
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", module)
    return module


def test_a_run_is_trained_and_locked(windows, run, tmp_path):
    trained = train(tiny_experiment(), tmp_path / "run", device="cpu")
    assert trained.checkpoint(40).read_bytes() == run.checkpoint(40).read_bytes()
    with pytest.raises(ValueError, match="is in use: another process"), locked(trained.path):
        pass  # the stand-in frees nothing
    assert len(windows.held) == 1


def test_nothing_is_written_through_links(windows, tmp_path):
    (tmp_path / "file").write_bytes(b"kept\n")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with pytest.raises(ValueError, match="is a symbolic link, through which nothing is written"):
        append_whole(tmp_path / "link", b"more\n")
    write_whole(tmp_path / "file", b"whole\n")
    append_whole(tmp_path / "file", b"more\n")
    assert (tmp_path / "file").read_bytes() == b"whole\nmore\n"


def test_where_the_memory_is_not_stated_nothing_is_refused(windows):
    assert available_memory() == sys.maxsize


def test_files_are_opened_without_change_of_their_line_ends(windows, monkeypatch, tmp_path):
    opened = []
    monkeypatch.setattr(os, "O_BINARY", 2**29, raising=False)
    monkeypatch.setattr(os, "open", lambda path, flags, mode: opened.append(flags) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        append_whole(tmp_path / "file", b"more\n")
    assert opened[0] & 2**29


@pytest.mark.slow
def test_workers_are_spawned_where_none_can_be_forked(monkeypatch, tmp_path):
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])
    sweep = tiny_sweep(vary={}, base=tiny_experiment(steps=5))
    folder = train_sweep(sweep, tmp_path / "sweep", device="cpu", stack=1, workers=2)
    assert folder.left() == {}
