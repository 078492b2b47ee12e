"""A sweep of 135 networks ends with the same bytes wherever it is trained."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from interp.cli.detach import detached
from interp.executors.named import find_engine
from interp.executors.ray import Ray
from interp.executors.slurm import Slurm
from interp.sweeps.groups import Part
from interp.sweeps.launch import train_sweep
from interp.sweeps.sweep import SweepFolder
from tests.cluster.sweeps import files_of, mini_sweep, short_sweep, wait_until

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.xdist_group("clusters"),
    # Ray leaves files and sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def trained(path: Path, **options: Any) -> dict[str, bytes]:
    """The files of all 135 runs."""
    folder = train_sweep(mini_sweep(), path, device="cpu", stack=15, **options)
    return files_of(folder.path)


@pytest.fixture(scope="module")
def of_one_process(tmp_path_factory) -> dict[str, bytes]:
    files = trained(tmp_path_factory.mktemp("one") / "mini")
    assert len([name for name in files if name.endswith("/experiment.toml")]) == 135
    assert len([name for name in files if name.endswith("/checkpoints/4.safetensors")]) == 135
    return files


def test_two_processes(of_one_process, tmp_path):
    assert trained(tmp_path / "mini", workers=2) == of_one_process


def test_ray(of_one_process, ray_cluster, tmp_path):
    engine = Ray({"address": ray_cluster.address})
    assert trained(tmp_path / "mini", executor=engine, jobs=4) == of_one_process


def test_slurm(of_one_process, slurm, tmp_path):
    engine = Slurm(tmp_path / "mini", {}, poll_seconds=0.3)
    assert trained(tmp_path / "mini", executor=engine, jobs=3) == of_one_process


def test_four_parts(of_one_process, tmp_path):
    for number in (3, 1, 4, 2):
        files = trained(tmp_path / "mini", part=Part(number, 4))
    assert files == of_one_process


def test_an_executor_of_ones_own(of_one_process, tmp_path):
    engine = find_engine(f"{__name__}:threads", {}, tmp_path)
    assert trained(tmp_path / "mini", executor=engine, jobs=5) == of_one_process


def threads() -> ThreadPoolExecutor:
    """A factory of a user's own; one thread, since warnings are of the whole process."""
    return ThreadPoolExecutor(1)


def test_a_sweep_in_the_background_outlives_the_command(tmp_path, monkeypatch):
    out, file = tmp_path / "short", tmp_path / "short.toml"
    file.write_text(short_sweep().to_toml())
    command = ["sweep", str(file), "--out", str(out), "--device", "cpu", "--workers", "1"]
    monkeypatch.setattr(sys, "argv", ["interp", *command, "--detach"])
    said = detached(short_sweep(), out, None, device="cpu")
    assert f"watch it with: interp status {out}" in said
    wait_until(lambda: not SweepFolder(out, short_sweep()).left(), "the end of the sweep")
    (log,) = (out / "jobs").glob("head-*.log")
    wait_until(lambda: f"trained {out}: 4 runs" in log.read_text(), "the command's last line")


def test_what_is_wrong_is_told_before_anything_goes_to_the_background(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("mine")
    with pytest.raises(ValueError, match=r"holds no sweep\.toml; choose another"):
        detached(short_sweep(), tmp_path / "mine", None, device="cpu")
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["notes"]
