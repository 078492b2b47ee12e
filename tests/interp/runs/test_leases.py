"""Run folders between machines: who holds one, who may take it, and who must not write."""

import errno
import os
import shutil
import signal
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

import interp
from interp.measure.analyze import analyze
from interp.runs import leases, opening, safe_files
from interp.runs.leases import InUse, Lease, LeaseLost, lease_of, sight
from interp.runs.opening import locked
from interp.runs.safe_files import append_whole, move_folder, remove, remove_folder, write_whole
from interp.runs.staging import scratch
from interp.training.loop import train
from interp.training.stack import train_stack
from tests.interp.runs.machines import (
    PATIENCE,
    STEPS,
    Machine,
    become,
    race,
    stay,
    take_turns,
    train_and_stop,
)
from tests.planted import tiny_experiment

LEFT = "without a sign of life"


@pytest.fixture
def elsewhere():
    """Makes machines, which end with the test."""
    machines = []

    def elsewhere(*arguments, **facts):
        machines.append(Machine(*arguments, **facts))
        return machines[-1]

    yield elsewhere
    for machine in machines:
        machine.end()


@pytest.fixture
def two(monkeypatch):
    """Makes this process the machine "two", with short times."""
    for module, name in (
        (leases, "this_machine"),
        (leases, "BEAT_SECONDS"),
        (leases, "LEASE_SECONDS"),
        (opening, "_flock"),
        (time, "time"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))  # back at the end

    def two(**facts):
        become("two", **facts)

    return two


class Clock:
    """A clock that only sleeping moves; someone may do something meanwhile."""

    strftime, localtime = staticmethod(time.strftime), staticmethod(time.localtime)

    def __init__(self):
        self.now, self.slept, self.meanwhile = 1e6, 0.0, lambda: None

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.slept += seconds
        self.meanwhile()


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(leases, "time", clock)
    return clock


def left_by(folder, host="one", **facts):
    """A lease that a machine has left behind."""
    folder.mkdir(exist_ok=True)
    number = max(leases._numbers(folder), default=0) + 1
    lease = replace(leases._created(folder, number), host=host, machine=host, **facts)
    lease.file.write_bytes(lease.content())
    return lease


def newest(folder) -> Lease:
    """The newest lease of a folder that has one."""
    lease = lease_of(folder)
    assert lease is not None
    return lease


def lose(folder):
    """Lets another machine take a folder that this process holds."""
    before = newest(folder)
    lease = left_by(folder, "other")
    before.file.unlink()
    return lease


def files(folder):
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def touch(lease):
    beat = lease.file.stat().st_mtime_ns + 1
    os.utime(lease.file, ns=(beat, beat))


# Holding and releasing.


def test_a_held_folder_says_who_holds_it(tmp_path):
    with locked(tmp_path):
        lease = newest(tmp_path)
        assert (lease.host, lease.machine) == leases.this_machine()
        assert (lease.process, lease.is_held, lease.number) == (os.getpid(), True, 1)
        assert lease.began == pytest.approx(lease.file.stat().st_mtime, abs=60)
    assert newest(tmp_path) == replace(lease, is_held=False, beat=newest(tmp_path).beat)


def test_a_folder_that_nobody_held_has_no_lease(tmp_path):
    assert lease_of(tmp_path) is None
    assert lease_of(tmp_path / "missing") is None


def test_a_released_folder_is_taken_without_waiting(tmp_path, clock):
    for number in (1, 2, 3):
        with locked(tmp_path):
            assert [file.name for file in tmp_path.glob(".lease.*")] == [f".lease.{number}"]
    assert clock.slept == 0


def test_in_use_names_process_machine_and_time(tmp_path):
    with locked(tmp_path), pytest.raises(InUse, match="is in use") as refused, locked(tmp_path):
        pass
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(newest(tmp_path).began))
    host = leases.this_machine()[0]
    assert f"(held by process {os.getpid()} on {host}, since {since})" in str(refused.value)


def test_a_thread_touches_what_is_held_and_ends_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.01)
    deadline = time.monotonic() + PATIENCE
    with locked(tmp_path):
        began = newest(tmp_path).beat
        (thread,) = [t for t in threading.enumerate() if t.name == leases.THREAD]
        while newest(tmp_path).beat == began:
            assert time.monotonic() < deadline
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_the_thread_outlives_a_folder_that_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.01)
    for name in ("gone", "there"):
        (tmp_path / name).mkdir()
    deadline = time.monotonic() + PATIENCE
    with locked(tmp_path / "gone"), locked(tmp_path / "there"):
        newest(tmp_path / "gone").file.unlink()
        began = newest(tmp_path / "there").beat
        while newest(tmp_path / "there").beat == began:
            assert time.monotonic() < deadline


def test_a_fork_neither_releases_nor_touches_what_it_does_not_hold(tmp_path):
    with locked(tmp_path):
        lease = newest(tmp_path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of forking beside threads
            child = os.fork()
        if child == 0:
            leases.release(lease)
            write_whole(tmp_path / "file", b"of the child")
            os._exit(len(leases._own()) + (leases._ending is not None))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert newest(tmp_path) == lease
    assert (tmp_path / "file").read_bytes() == b"of the child"


# Taking what was left.


def test_a_killed_owner_of_this_machine_is_followed_at_once(
    tmp_path, elsewhere, clock, monkeypatch
):
    machine = elsewhere("one", stay, tmp_path)
    assert machine.told() == "held"
    machine.end()
    monkeypatch.setattr(leases, "this_machine", lambda: ("one", "one"))
    with locked(tmp_path):
        assert (newest(tmp_path).number, clock.slept) == (2, 0)


def test_without_the_kernels_locks_its_process_list_decides(
    tmp_path, elsewhere, clock, monkeypatch
):
    machine = elsewhere("one", stay, tmp_path)
    assert machine.told() == "held"
    monkeypatch.setattr(leases, "this_machine", lambda: ("one", "one"))
    assert not leases.is_gone(newest(tmp_path), is_locked=False)
    machine.end()
    leases.hold(tmp_path, is_locked=False)
    assert newest(tmp_path).number == 2
    leases.release(newest(tmp_path))
    assert clock.slept == 0


def test_a_machine_that_was_started_again_is_another_one(tmp_path, clock):
    left_by(tmp_path, leases.this_machine()[0])
    with pytest.warns(UserWarning, match=LEFT), locked(tmp_path):
        assert clock.slept >= leases.LEASE_SECONDS


def test_a_killed_owner_elsewhere_is_followed_after_a_lease_and_not_before(
    tmp_path, elsewhere, clock
):
    machine = elsewhere("one", stay, tmp_path)
    assert machine.told() == "held"
    machine.end()
    with pytest.warns(UserWarning, match=LEFT) as told, locked(tmp_path):
        assert 60 <= clock.slept <= 62
    (line,) = [str(warning.message) for warning in told]
    assert line.startswith(f"{tmp_path} is held by process {machine.process.pid} on one, since ")
    assert line.endswith(
        "without a sign of life so far; waiting 60 seconds for one before taking over"
    )


def test_a_sign_of_life_elsewhere_is_an_error(tmp_path, clock):
    lease = left_by(tmp_path)
    clock.meanwhile = lambda: touch(lease)
    with pytest.raises(InUse, match=r"is in use: .*\(held by process \d+ on one"), locked(tmp_path):
        pass
    assert clock.slept == leases.BEAT_SECONDS / leases.LOOKS_A_BEAT
    assert newest(tmp_path).token == lease.token


def test_a_last_sign_of_life_shortly_before_the_end_counts(tmp_path, clock):
    lease = left_by(tmp_path)
    clock.meanwhile = lambda: clock.slept > 58 and touch(lease)
    with pytest.warns(UserWarning, match=LEFT), pytest.raises(InUse), locked(tmp_path):
        pass


@pytest.mark.parametrize("hour", [-3600, 3600])
def test_times_of_another_clock_mean_nothing(tmp_path, clock, hour):
    lease = left_by(tmp_path, began=time.time() + hour)
    os.utime(lease.file, (time.time() + hour,) * 2)
    with pytest.warns(UserWarning, match=LEFT), locked(tmp_path):
        assert 60 <= clock.slept <= 62


@pytest.mark.parametrize("hour", [-3600, 3600])
def test_a_living_owner_whose_clock_is_an_hour_off_is_not_followed(tmp_path, elsewhere, two, hour):
    machine = elsewhere("one", stay, tmp_path, clock=hour)
    assert machine.told() == "held"
    two()
    with pytest.raises(InUse, match="on one, since"), locked(tmp_path):
        pass
    machine.connection.send("go")
    assert machine.told() == "released"
    with locked(tmp_path):
        assert newest(tmp_path).host == "two"


def test_two_machines_never_hold_a_folder_at_once(tmp_path, elsewhere):
    machines = [
        elsewhere(name, take_turns, tmp_path, 8, clock=clock)
        for name, clock in (("one", 0), ("two", 3600))
    ]
    assert all(isinstance(machine.told(), int) for machine in machines)
    assert newest(tmp_path).number >= 16


def test_of_many_that_race_for_a_left_folder_one_wins(tmp_path, elsewhere):
    folders = [tmp_path / str(number) for number in range(20)]
    for folder in folders:
        left_by(folder, "dead")
    machines = [elsewhere(f"machine-{n}", race, folders) for n in range(8)]
    for _ in folders:
        for word in ("ready", "tried"):
            assert [machine.told() for machine in machines] == [word] * 8
            for machine in machines:
                machine.connection.send("go")
    won = [machine.told() for machine in machines]
    assert [sum(of_folder) for of_folder in zip(*won, strict=True)] == [1] * 20


def test_whoever_saw_an_old_list_of_the_folder_backs_off(tmp_path, clock, monkeypatch):
    newest = replace(left_by(tmp_path), number=5)
    (tmp_path / ".lease.1").rename(newest.file)
    clock.meanwhile = lambda: touch(newest)
    lists = iter([{3}])
    numbers = leases._numbers
    monkeypatch.setattr(leases, "_numbers", lambda folder: next(lists, None) or numbers(folder))
    with pytest.raises(InUse), locked(tmp_path):
        pass
    assert [file.name for file in tmp_path.glob(".lease.*")] == [".lease.5"]


def test_a_number_that_is_taken_is_passed_over_though_no_list_has_it(tmp_path, monkeypatch):
    left_by(tmp_path)
    (tmp_path / ".lease.1").rename(tmp_path / ".lease.3")
    lease = replace(newest(tmp_path), is_held=False)
    for number in (3, 4):
        (tmp_path / f".lease.{number}").write_bytes(lease.content())
    numbers, lists = leases._numbers, iter([{3}, {3}])
    monkeypatch.setattr(leases, "_numbers", lambda folder: next(lists, None) or numbers(folder))
    with locked(tmp_path):
        assert [file.name for file in tmp_path.glob(".lease.*")] == [".lease.5"]


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 4000, b'{"state": "free"}', b"\xff"])
def test_a_damaged_lease_is_waited_for(tmp_path, clock, content):
    left_by(tmp_path).file.write_bytes(content)
    with pytest.warns(UserWarning, match="process 0 on an unknown machine"), locked(tmp_path):
        assert 60 <= clock.slept <= 62


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_what_is_no_file_is_waited_for_and_not_followed(tmp_path, clock, kind):
    place = tmp_path / "run" / ".lease.7"
    place.parent.mkdir()
    make = {"link": lambda: place.symlink_to("/dev/zero"), "folder": place.mkdir,
            "pipe": lambda: os.mkfifo(place)}  # fmt: skip
    make[kind]()
    with pytest.warns(UserWarning, match=LEFT), locked(place.parent):
        assert newest(place.parent).number == 8


def test_however_many_leases_there_were_there_is_a_next(tmp_path):
    digits = "9" * 18
    (tmp_path / f".lease.{digits}").write_bytes(replace(left_by(tmp_path), is_held=False).content())
    with locked(tmp_path):
        assert newest(tmp_path).number == int(digits) + 1


def test_a_line_that_the_file_server_no_longer_takes_is_of_a_lost_folder(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"there")

    def stale(*_, **__):
        lose(tmp_path)
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with locked(tmp_path), monkeypatch.context() as patched:
        patched.setattr(os, "fdopen", stale)
        with pytest.raises(LeaseLost):
            append_whole(tmp_path / "file", b"ours")


def test_time_in_which_the_file_system_stood_still_counts_for_little(tmp_path, clock):
    left_by(tmp_path)
    assert sight([tmp_path]) == [tmp_path]
    clock.now += 10_000
    with pytest.warns(UserWarning, match=LEFT), locked(tmp_path):
        assert 20 <= clock.slept <= 22


def test_an_old_sign_of_life_is_none(tmp_path, clock):
    lease = left_by(tmp_path)
    sight([tmp_path])
    clock.now += 10_000
    touch(lease)
    with pytest.warns(UserWarning, match=LEFT), locked(tmp_path):
        assert 60 <= clock.slept <= 62


def test_what_is_free_or_of_this_machine_needs_no_wait(tmp_path):
    with locked(tmp_path):
        pass
    host, machine = leases.this_machine()
    lease = left_by(tmp_path / "own")
    lease.file.write_bytes(replace(lease, host=host, machine=machine).content())
    assert sight([tmp_path, tmp_path / "own", tmp_path / "missing"]) == []


def test_a_folder_of_a_dead_owner_is_cleared_of_what_it_could_still_write(tmp_path, clock):
    left_by(tmp_path)
    (tmp_path / "metrics.jsonl").write_bytes(b"row\n")
    before = (tmp_path / "metrics.jsonl").stat().st_ino
    half = [".metrics.jsonl.0123abcd.tmp", "checkpoints/.5.safetensors.0123abcd.tmp",
            "results/Probes/all-01/.5.npz.0123abcd.tmp"]  # fmt: skip
    for name in (*half, ".notes.tmp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"half")
    with pytest.warns(UserWarning, match=LEFT), locked(tmp_path):
        found = [(tmp_path / name).exists() for name in half]
    assert not any(found)
    assert (tmp_path / "metrics.jsonl").stat().st_ino != before
    assert (tmp_path / "metrics.jsonl").read_bytes() == b"row\n"
    assert (tmp_path / ".notes.tmp").exists()


# Writing after a lease was lost.

WRITES = {
    "write": lambda folder: write_whole(folder / "checkpoints" / "file", b"new"),
    "append": lambda folder: append_whole(folder / "file", b"more"),
    "remove": lambda folder: remove(folder / "file"),
    "remove a folder": lambda folder: remove_folder(folder),
    "move": lambda folder: move_folder(folder / "inner", folder.parent / "moved"),
}


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("is_linked", [False, True])
def test_nothing_is_written_to_a_lost_folder(tmp_path, name, is_linked):
    folder = tmp_path / "run"
    (folder / "inner").mkdir(parents=True)
    for file in ("file", "inner/file"):
        (folder / file).write_bytes(b"there\n")
    (tmp_path / "link").symlink_to(folder)
    with locked(folder):
        lose(folder)
        before = files(tmp_path)
        with pytest.raises(
            LeaseLost,
            match=r"run was taken over by other while this process was paused; nothing more is",
        ):
            WRITES[name](tmp_path / "link" if is_linked else folder)
        assert files(tmp_path) == before
        assert not (folder / "checkpoints").exists()
    assert files(tmp_path) == before  # the release neither


@pytest.mark.parametrize("name", WRITES)
def test_a_held_folder_is_written_to(tmp_path, name):
    folder = tmp_path / "run"
    (folder / "inner").mkdir(parents=True)
    (folder / "file").write_bytes(b"there\n")
    with locked(folder):
        WRITES[name](folder)


def test_a_folder_inside_a_lost_one_may_be_held(tmp_path):
    (tmp_path / "run").mkdir()
    with locked(tmp_path), locked(tmp_path / "run"):
        lose(tmp_path)
        write_whole(tmp_path / "run" / "file", b"ours")
        with pytest.raises(LeaseLost):
            write_whole(tmp_path / "file", b"ours")


def test_a_write_that_was_paused_before_its_rename_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"theirs")
    rename = Path.replace

    def replace_late(path, to):
        lose(tmp_path)
        safe_files.remove_temporaries_in(tmp_path)
        return rename(path, to)

    monkeypatch.setattr(Path, "replace", replace_late)
    with locked(tmp_path), pytest.raises(LeaseLost):
        write_whole(tmp_path / "file", b"ours")
    assert (tmp_path / "file").read_bytes() == b"theirs"
    assert not [*tmp_path.glob(".*.tmp")]


def test_a_write_that_was_paused_before_its_temporary_file_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"theirs")
    make = safe_files._make

    def make_late(*arguments):
        lose(tmp_path)
        make(*arguments)

    monkeypatch.setattr(safe_files, "_make", make_late)
    with locked(tmp_path), pytest.raises(LeaseLost):
        write_whole(tmp_path / "file", b"ours")
    assert (tmp_path / "file").read_bytes() == b"theirs"
    assert not [*tmp_path.glob(".*.tmp")]


def test_a_stopped_write_leaves_no_temporary_file(tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", stopped)
    with locked(tmp_path), pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "file", b"ours")
    assert {file.name for file in tmp_path.iterdir()} == {".lock", ".lease.1"}


@pytest.mark.parametrize(
    "where",
    ["between steps", "append", "rename 20.safetensors", "rename state.safetensors",
     "rename metrics.jsonl"],
)  # fmt: skip
def test_a_writer_that_wakes_after_its_lease_writes_nothing(tmp_path, elsewhere, two, run, where):
    folder = tmp_path / "run"
    machine = elsewhere("one", train_and_stop, folder, where)
    machine.wait_until_stopped()
    two(lease=0.4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it waits
        trained = train(tiny_experiment(steps=STEPS), folder, device="cpu")
    before = files(folder)
    machine.signal(signal.SIGCONT)
    kind, line = machine.told()
    assert (kind, files(folder)) == ("LeaseLost", before)
    assert line == f"{folder} was taken over by two while this process was paused; nothing more " \
        "is written here"  # fmt: skip
    names = [
        "metrics.jsonl",
        "state.safetensors",
        *(f"checkpoints/{n}.safetensors" for n in run.steps),
    ]
    assert [before[name] for name in names] == [(run.path / name).read_bytes() for name in names]
    assert trained.steps == run.steps


def test_an_analysis_is_not_made_a_refusal_of_the_lost_folder(tmp_path, run):
    folder = Path(shutil.copytree(run.path, tmp_path / "run"))

    def lose_it(step):
        lose(folder)

    with pytest.raises(LeaseLost, match="taken over by other"):
        analyze(interp.Run(folder), ["WeightNorms"], on_step=lose_it)


# Stacks.


def replicas(tmp_path, count=3):
    experiment = tiny_experiment(steps=10)
    return {tmp_path / str(seed): experiment.with_seed(seed) for seed in range(count)}


def test_a_stack_with_a_replica_in_use_is_not_trained(tmp_path, clock):
    experiments = replicas(tmp_path)
    lease = left_by(tmp_path / "1")
    clock.meanwhile = lambda: touch(lease)
    with pytest.raises(InUse, match=r"/1 is in use: .* on one, since"):
        train_stack(experiments, device="cpu")
    assert {path.name for path in tmp_path.iterdir()} == {"1"}


def test_a_replica_in_use_on_this_machine_stops_the_stack_too(tmp_path):
    experiments = replicas(tmp_path)
    (tmp_path / "1").mkdir()
    with locked(tmp_path / "1"), pytest.raises(InUse, match="/1 is in use"):
        train_stack(experiments, device="cpu")
    assert not (tmp_path / "2").exists()
    assert interp.Run(tmp_path / "0").steps == ()
    train_stack(experiments, device="cpu")


def test_the_waits_for_a_stack_run_at_the_same_time(tmp_path, clock):
    experiments = replicas(tmp_path)
    for path in experiments:
        left_by(path)
    with pytest.warns(UserWarning, match="/0 and 2 other folders are held by process"):
        runs = train_stack(experiments, device="cpu")
    assert 60 <= clock.slept <= 62
    assert [run.steps[-1] for run in runs] == [10] * 3


def test_a_replica_that_is_done_is_not_waited_for(tmp_path, clock):
    experiments = replicas(tmp_path)
    train_stack(experiments, device="cpu")
    left_by(tmp_path / "1")
    train_stack(experiments, device="cpu")
    assert clock.slept == 0


def test_a_stack_ends_where_a_folder_was_lost(tmp_path):
    def lose_one(step, done):
        if step == 5:
            lose(tmp_path / "1")

    with pytest.raises(LeaseLost, match="/1 was taken over by other"):
        train_stack(replicas(tmp_path), device="cpu", on_stop=lose_one)


# Runs that are written aside and moved.


def test_a_run_is_not_moved_once_its_place_was_taken_over(tmp_path):
    taken = []

    def move():
        with scratch(tmp_path / "run") as folder:
            write_whole(folder / "file", b"ours")
            taken.append(lose(folder.parent))
            move_folder(folder, tmp_path / "run")

    with pytest.raises(LeaseLost, match="taken over by other"):
        move()
    assert taken[0].file.exists()  # what the new owner makes is not removed
    assert not (tmp_path / "run").exists()


def test_whoever_takes_a_place_over_writes_under_another_name(tmp_path, clock):
    with scratch(tmp_path / "run") as folder:
        pass
    left_by(folder.parent)
    write_whole(folder / "file", b"of the dead")
    with pytest.warns(UserWarning, match=LEFT), scratch(tmp_path / "run") as other:
        assert [path.name[0] for path in other.parent.iterdir()] == ["."] * 2
    assert other != folder
