"""Ray, as an engine: a job is a task.

A cluster that one started oneself is found by its address; without one, Ray starts on this machine.
A task whose worker or node is lost is run again by Ray, some times, and goes on from checkpoints.
"""

import os
import re
import socket
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from interp.executors.engine import Job, Look, LostJob, Outcome, say_cancelled

LOOK_SECONDS = 0.5  # seconds between two looks at tasks
CONNECT_SECONDS = 10.0  # in which a cluster must answer
DEFAULTS = {"num_cpus": 1, "num_gpus": 0, "resources": {}, "max_retries": 3}  # of each job
OF_CLUSTER = ("address", "runtime_env", "namespace")
ENVIRONMENT = {  # of this process, before Ray starts
    "RAY_USAGE_STATS_ENABLED": "0",  # sends nothing home
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # without it, a warning on each start
}


class Ray:
    """An engine of a Ray cluster.

    Args:
        options: `address` of a cluster (RAY_ADDRESS, a running one, or one that is started here),
            `namespace`, `runtime_env`; of each job `num_cpus`, `num_gpus`, `resources` and
            `max_retries`, how often Ray runs it again after its worker was lost.

    Raises:
        ValueError: ray is not installed, or an option is unknown.
    """

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        for name in ENVIRONMENT:
            os.environ.setdefault(name, ENVIRONMENT[name])
        try:
            import ray  # noqa: F401
        except ImportError:
            raise ValueError("executor ray needs ray: .venv/bin/pip install -e '.[ray]'") from None
        known = [*OF_CLUSTER, *DEFAULTS]
        for name in options or {}:
            if name not in known:
                raise ValueError(f"executor ray has no option {name}; there are {', '.join(known)}")
        given = dict(options or {})
        self._cluster = {name: given.pop(name) for name in OF_CLUSTER if name in given}
        self._of_job = DEFAULTS | given

    def run(self, jobs: Sequence[Job], look: Look) -> list[Outcome]:
        """Runs jobs and waits for all (`Engine.run`)."""
        if not jobs:
            return []
        with self._connected() as ray:
            try:
                call = ray.remote(**self._of_job)(_call)
                self._warn_of_waiting(ray)
            except (ValueError, TypeError) as error:
                raise ValueError(f"executor ray: {error}") from None
            outcomes: dict[int, Outcome] = {}
            left: dict[Any, int] = {}  # numbers of jobs, by what stands for their results
            try:
                for number, job in enumerate(jobs):
                    left[call.remote(job)] = number
                while left:
                    self._collect(ray, left, outcomes)
                    look(len(outcomes))
            except BaseException:
                for task in left:
                    ray.cancel(task, force=True)
                say_cancelled(len(left), len(left))
                raise
        return [outcomes[number] for number in range(len(jobs))]

    def _collect(self, ray: Any, left: dict[Any, int], outcomes: dict[int, Outcome]) -> None:
        """Waits a moment, and moves the tasks that are over to the outcomes.

        What a task returned is fetched at once and let go of in the cluster.
        """
        over, _ = ray.wait(list(left), num_returns=len(left), timeout=LOOK_SECONDS)
        for task in over:
            outcomes[left.pop(task)] = _outcome(ray, task)

    def _warn_of_waiting(self, ray: Any) -> None:
        """Says so where no node has what a job asks for: Ray waits for one without a word."""
        own = {"CPU": self._of_job["num_cpus"], "GPU": self._of_job["num_gpus"]}
        asked = {name: count for name, count in (own | self._of_job["resources"]).items() if count}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(all(node.get(name, 0) >= asked[name] for name in asked) for node in nodes):
            listed = ", ".join(f"{name} {count}" for name, count in asked.items())
            warnings.warn(f"no node of the Ray cluster has {listed}: jobs wait", stacklevel=4)

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """A block with a connection to the cluster; one that was there already stays."""
        import ray

        if ray.is_initialized():
            yield ray
            return
        _check_answers(self._cluster.get("address") or os.environ.get("RAY_ADDRESS", ""))
        try:
            ray.init(
                **self._cluster,
                log_to_driver=False,
                include_dashboard=False,
                configure_logging=False,
            )
        except (ValueError, ConnectionError, RuntimeError, TypeError) as error:
            raise ValueError(f"executor ray: {_first_line(error)}") from None
        try:
            yield ray
        finally:
            ray.shutdown()


def _check_answers(address: str) -> None:
    """Refuses an address where nothing listens, for which Ray would wait for minutes."""
    match = re.fullmatch(r"(?:ray://)?\[?([^/\]]+)\]?:(\d+)", address)
    if not match:
        return
    try:
        socket.create_connection((match[1], int(match[2])), CONNECT_SECONDS).close()
    except OSError as error:
        raise ValueError(
            f"executor ray: nothing answers at {address} ({error.strerror or error}); start a "
            "cluster with `ray start --head`, or leave out address"
        ) from None


def _call(job: Job) -> Any:
    """What a task does."""
    return job.function(*job.arguments)


def _outcome(ray: Any, task: Any) -> Outcome:
    """What became of a task that is over: of a fault of the job's own, the fault itself."""
    try:
        return Outcome(ray.get(task))
    except ray.exceptions.RayTaskError as error:
        return Outcome(fault=error.cause if isinstance(error.cause, Exception) else error)
    except ray.exceptions.RayError as error:
        return Outcome(fault=LostJob(f"Ray lost a job: {_first_line(error)}"))


def _first_line(error: Exception) -> str:
    """The first line of an error of Ray's, whose messages are long; its kind where it has none."""
    return next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)
