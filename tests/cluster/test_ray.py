"""Real Ray, two nodes on this machine: lost nodes, killed workers, and faults as they are."""

import os
import re
import signal
import time

import pytest

from interp.executors.engine import Job, LostJob
from interp.executors.ray import Ray
from interp.sweeps.launch import train_sweep
from tests.cluster.ray_here import add_node
from tests.cluster.sweeps import Head, files_of, long_sweep, wait_until

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.xdist_group("clusters"),
    # Ray leaves files and sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def engine(ray_cluster) -> Ray:
    return Ray({"address": ray_cluster.address})


def started(path, engine) -> tuple[Head, list[int]]:
    """A head that trains the long sweep in two jobs; the processes that train."""
    how = {"device": "cpu", "stack": 1, "jobs": 2}
    head = Head(lambda: train_sweep(long_sweep(), path, executor=engine, **how))
    wait_until(lambda: len(list((path / "jobs").glob("*.log"))) == 2, "two workers")
    wait_until(lambda: len(list(path.glob("*/metrics.jsonl"))) >= 2, "two runs")
    return head, [pid for log in sorted((path / "jobs").glob("*.log")) for pid in pids(log)]


def pids(log) -> list[int]:
    return [int(pid) for pid in re.findall(r"pid (\d+)", log.read_text())]


def test_a_node_that_is_removed_has_its_jobs_done_by_another(ray_cluster, engine, tmp_path, alone):
    head, before = started(tmp_path / "long", engine)
    ray_cluster.remove_node(next(iter(ray_cluster.worker_nodes)), allow_graceful=False)
    add_node(ray_cluster)
    head.ended()
    assert files_of(tmp_path / "long") == alone
    assert sum(len(pids(log)) for log in (tmp_path / "long" / "jobs").glob("*.log")) > len(before)


def test_a_job_whose_worker_is_killed_goes_on(engine, tmp_path, alone):
    head, before = started(tmp_path / "long", engine)
    os.kill(before[0], signal.SIGKILL)
    head.ended()
    assert files_of(tmp_path / "long") == alone


def test_a_job_that_kills_its_worker_each_time_is_lost_and_stops_no_other(ray_cluster):
    engine = Ray({"address": ray_cluster.address, "max_retries": 0})
    lost, done = engine.run([Job(os._exit, (1,)), Job(max, (1, 2))], lambda over: None)
    assert isinstance(lost.fault, LostJob)
    assert str(lost.fault).startswith("Ray lost a job: ")
    assert done.value == 2


def test_a_fault_of_a_job_is_the_fault_itself(engine):
    (outcome,) = engine.run([Job(int, ("three",))], lambda over: None)
    assert type(outcome.fault) is ValueError
    assert str(outcome.fault) == "invalid literal for int() with base 10: 'three'"


def test_ctrl_c_cancels_the_jobs_and_says_so(engine):
    def stop(over: int) -> None:
        raise KeyboardInterrupt

    jobs = [Job(time.sleep, (60,))] * 3
    with pytest.raises(KeyboardInterrupt), pytest.warns(UserWarning, match="cancelled 3 jobs"):
        engine.run(jobs, stop)
    begin = time.monotonic()
    (outcome,) = engine.run([Job(max, (1, 2))], lambda over: None)
    assert outcome.value == 2
    assert time.monotonic() - begin < 50


def test_an_option_of_the_wrong_kind_is_one_line(ray_cluster):
    engine = Ray({"address": ray_cluster.address, "max_retries": "many"})
    with pytest.raises(ValueError, match=r"^executor ray: "):
        engine.run([Job(max, (1, 2))], lambda over: None)


def test_a_cluster_that_is_not_there_is_one_line():
    engine = Ray({"address": "127.0.0.1:1"})
    with pytest.raises(ValueError, match=r"^executor ray: nothing answers at 127\.0\.0\.1:1 "):
        engine.run([Job(max, (1, 2))], lambda over: None)


def test_a_job_that_no_node_can_take_is_told(ray_cluster):
    def stop(over: int) -> None:
        raise KeyboardInterrupt

    engine = Ray({"address": ray_cluster.address, "num_gpus": 1})
    waits = pytest.warns(
        UserWarning, match="no node of the Ray cluster has CPU 1, GPU 1: jobs wait"
    )
    with waits, pytest.warns(UserWarning, match="cancelled"), pytest.raises(KeyboardInterrupt):
        engine.run([Job(max, (1, 2))], stop)
