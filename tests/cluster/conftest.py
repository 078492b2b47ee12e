"""Clusters on this machine, and what finished sweeps are compared by."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import ray_here
from tests.cluster.slurm_here import INSTALL, SlurmHere, is_missing, slurm_here
from tests.cluster.sweeps import files_of, long_sweep


@pytest.fixture(scope="session")
def cluster() -> Iterator[SlurmHere]:
    """Slurm with two nodes."""
    if is_missing():
        pytest.skip(INSTALL)
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # sockets bear no long path
    try:
        with slurm_here(folder / "here") as here:
            yield here
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def slurm(cluster: SlurmHere, monkeypatch: pytest.MonkeyPatch) -> SlurmHere:
    """The same, with both nodes idle, for a test that uses it."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    cluster.wait_idle()
    return cluster


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """Ray with a head that takes no jobs, and two nodes."""
    if ray_here.is_missing():
        pytest.skip(ray_here.INSTALL)
    with ray_here.ray_here() as cluster:
        for _ in range(2):
            ray_here.add_node(cluster)
        yield cluster


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the long sweep, trained by one process, which checks no shapes."""
    place = tmp_path_factory.mktemp("alone")
    (place / "long.toml").write_text(long_sweep().to_toml())
    command = [sys.executable, "-m", "interp", "sweep", "long.toml", "--out", "long"]
    options = ["--workers", "1", "--stack", "1", "--device", "cpu"]
    subprocess.run([*command, *options], cwd=place, check=True, capture_output=True)
    return files_of(place / "long")
