"""Several commands train one sweep: nobody trains a run that another holds."""

import multiprocessing
import time
import warnings

import pytest

from interp.runs import locked
from interp.sweeps.launch import begun, train_sweep
from interp.sweeps.sweep import SweepFolder
from tests.interp.sweeps.short_sweeps import short_sweep


def hold(path, held, release):
    """Holds a run's folder until it is told to let go."""
    path.mkdir(parents=True)
    with locked(path):
        held.set()
        release.wait(60)


def train_a_sweep(sweep, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that runs are left to others
        train_sweep(sweep, path, device="cpu")


@pytest.fixture
def holder():
    """A function that has another process hold a folder."""
    context = multiprocessing.get_context("fork")
    started = []

    def begin(path):
        held, release = context.Event(), context.Event()
        process = context.Process(target=hold, args=(path, held, release))
        process.start()
        started.append((process, release))
        assert held.wait(60)
        return release

    yield begin
    for process, release in started:
        release.set()
        process.join(60)


@pytest.mark.parametrize("stack", [1, 2])
def test_a_stack_that_another_process_holds_a_run_of_is_left_to_it(tmp_path, holder, stack):
    sweep = short_sweep(vary={"training.lr": [1e-3, 1e-2, 0.1, 1.0]}, seeds=1)
    first, *others = SweepFolder(tmp_path / "s", sweep).experiments()
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "sweep.toml").write_text(sweep.to_toml())
    release = holder(first)
    told = r"1 of \d groups are left to other .* in use: another process is"
    with pytest.warns(UserWarning, match=told):
        folder = train_sweep(sweep, tmp_path / "s", device="cpu", stack=stack)
    left = list(folder.left())
    assert left == [first, *others][:stack]
    assert not any((path / "metrics.jsonl").is_file() for path in left)
    release.set()
    while list(train_sweep(sweep, tmp_path / "s", device="cpu", stack=stack).left()):
        time.sleep(0.05)


def test_a_job_that_leaves_runs_to_others_is_told_by_the_head(tmp_path, holder):
    sweep = short_sweep()
    folder = SweepFolder(tmp_path / "s", sweep)
    begun(folder)
    holder(next(iter(folder.experiments())))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train_sweep(sweep, folder.path, device="cpu", stack=1, workers=2)
    (told,) = [str(each.message) for each in caught]  # those of workers are shown by these
    assert told.startswith("1 of 2 groups are left to other processes: the log of s0-")
    assert len(folder.left()) == 1


def test_a_command_that_began_before_a_sweep_grew_takes_no_runs_out(tmp_path, monkeypatch):
    small, grown = (SweepFolder(tmp_path, short_sweep(seeds=count)) for count in (1, 2))
    begun(small)
    check = SweepFolder.check_belongs

    def check_and_grow(folder: SweepFolder) -> None:
        check(folder)
        monkeypatch.setattr(SweepFolder, "check_belongs", check)
        begun(grown)

    (tmp_path / "sweep.toml").unlink()
    monkeypatch.setattr(SweepFolder, "check_belongs", check_and_grow)
    with pytest.raises(ValueError, match="is another sweep; choose a new folder"):
        begun(small)
    assert (tmp_path / "sweep.toml").read_text() == grown.sweep.to_toml()


def test_parts_that_begin_at_once_write_the_file_of_the_sweep_once(tmp_path):
    sweep = short_sweep(vary={"training.lr": [1e-3, 1e-2]}, seeds=1)
    context = multiprocessing.get_context("fork")
    begun = [context.Process(target=train_a_sweep, args=(sweep, tmp_path / "s")) for _ in range(4)]
    for process in begun:
        process.start()
    for process in begun:
        process.join(120)
    assert [process.exitcode for process in begun] == [0] * 4
    assert not list(SweepFolder(tmp_path / "s", sweep).left())
