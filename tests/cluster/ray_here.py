"""A Ray cluster of nodes with one processor each on this machine, for the time of a block."""

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

INSTALL = "no Ray here; `.venv/bin/pip install -e '.[ray]'` installs it"
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # A lost node is seen within some seconds.
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
MEMORY = 100_000_000  # bytes of a node's object store


@contextmanager
def ray_here() -> Iterator[Any]:
    """A cluster (`ray.cluster_utils.Cluster`) whose head takes no jobs; add nodes to it."""
    before = dict(os.environ)
    os.environ.update(QUIET)
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "object_store_memory": MEMORY, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield cluster
    finally:
        cluster.shutdown()
        os.environ.clear()
        os.environ.update(before)


def add_node(cluster: Any) -> Any:
    """Adds a node of one processor."""
    return cluster.add_node(num_cpus=1, object_store_memory=MEMORY)


def is_missing() -> bool:
    """Whether Ray is not installed."""
    return importlib.util.find_spec("ray") is None
