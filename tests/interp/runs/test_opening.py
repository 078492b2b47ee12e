import errno
import fcntl
import os

import pytest

from interp.measure.analyze import analyze
from interp.runs.leases import InUse
from interp.runs.opening import locked
from interp.training.loop import train
from tests.planted import tiny_experiment


def fail(number):
    def raising(*_):
        raise OSError(number, os.strerror(number))

    return raising


def test_a_held_folder_is_refused(tmp_path):
    with (
        locked(tmp_path),
        pytest.raises(ValueError, match="is in use: another process is training or analysing it"),
        locked(tmp_path),
    ):
        pass


def test_a_folder_is_free_again_afterwards(tmp_path):
    with locked(tmp_path):
        pass
    with locked(tmp_path):
        assert (tmp_path / ".lock").read_bytes() == b""


def test_a_folder_is_free_again_after_an_error(tmp_path):
    with pytest.raises(ValueError, match="inside"), locked(tmp_path):
        raise ValueError("inside")
    with locked(tmp_path):
        pass


def test_other_folders_are_not_held(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with locked(tmp_path / "one"), locked(tmp_path / "two"):
        pass


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_to_needs_no_lock(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "open", fail(number))
    with locked(tmp_path), locked(tmp_path):
        pass


def test_a_folder_is_held_on_a_file_system_without_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", fail(errno.ENOLCK))
    with locked(tmp_path), pytest.raises(InUse, match="is in use: another"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_a_run_is_held_while_it_is_trained(tmp_path, experiment):
    def analyse_meanwhile(row, end):
        with pytest.raises(ValueError, match="is in use"), locked(tmp_path / "run"):
            pass

    train(tiny_experiment(steps=1), tmp_path / "run", on_evaluate=analyse_meanwhile, device="cpu")


def test_a_run_is_held_while_it_is_analysed(run, folder):
    def train_meanwhile(step):
        with pytest.raises(ValueError, match="is in use"), locked(folder):
            pass

    analyze(type(run)(folder), ["FourierSpectrum"], on_step=train_meanwhile)


def test_a_lock_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"\.lock is a symbolic link"), locked(tmp_path / "run"):
        pass
    assert not (tmp_path / "elsewhere").exists()
