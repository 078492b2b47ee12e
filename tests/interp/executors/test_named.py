"""Engines by name: what is unknown, not installed or not here is one line."""

import sys
from pathlib import Path

import pytest

from interp.executors import FuturesEngine, Job
from interp.executors.named import find_engine, parsed_options
from interp.executors.ray import Ray
from interp.executors.slurm import Slurm

pytest.importorskip("submitit")


@pytest.fixture
def slurm_programs(tmp_path, monkeypatch) -> None:
    """A machine on which Slurm's commands are installed."""
    for name in ("sbatch", "srun"):
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("#!/bin/sh\n")
        file.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")


REFUSED = {
    "unknown executor": ("dask", {}, "executor 'dask' is unknown; there are local, slurm, ray, "),
    "unknown option of local": (
        "local",
        {"cores": 2},
        "executor local: .*'cores'.*its options are workers",
    ),
    "unknown option of ray": (
        "ray",
        {"gpus": 1},
        "executor ray has no option gpus; there are address, runtime_env, namespace, num_cpus, "
        "num_gpus, resources, max_retries$",
    ),
    "unknown option of slurm": (
        "slurm",
        {"queue": "gpu"},
        "executor slurm has no option queue; there are account, .*gpus_per_node.*partition.*"
        "timeout_min",
    ),
    "several nodes": ("slurm", {"nodes": 2}, "executor slurm has no option nodes; there are"),
    "wrong kind": ("slurm", {"cpus_per_task": "two"}, 'executor slurm: .*"cpus_per_task" expected'),
    "unknown module": ("no.such:thing", {}, "executor no.such:thing cannot be imported: No module"),
    "unknown factory": ("math:thing", {}, "executor math:thing cannot be imported: .*no attr"),
    "no module": (":thing", {}, "executor :thing cannot be imported: Empty module name"),
    "no executor": ("math:sqrt", {}, "executor math:sqrt: "),
    "no workers": ("local", {"workers": 0}, "executor local: workers must be .* at least 1, got 0"),
    "workers in words": ("local", {"workers": "two"}, "executor local: workers must .*got 'two'"),
    "a factory that raises": (f"{__name__}:broken", {}, "executor .*: RuntimeError: no dask here"),
    "a factory of something else": (f"{__name__}:answer", {}, "executor .* gives int, and not a"),
    "missing file": ("missing.toml", {}, "executor missing.toml: no such file"),
}


@pytest.mark.usefixtures("slurm_programs")
@pytest.mark.parametrize(("name", "options", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_one_line(name, options, message, tmp_path):
    with pytest.raises(ValueError, match=message) as caught:
        find_engine(name, options, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "package"), [("slurm", "submitit"), ("ray", "ray")])
def test_a_missing_extra_is_told_with_the_line_that_installs_it(
    name, package, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"pip install -e '\.\[{name}\]'$"):
        find_engine(name, {}, tmp_path)


def test_slurm_wants_its_commands(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="there is no sbatch and srun here; use a login node"):
        find_engine("slurm", {}, tmp_path)


@pytest.mark.usefixtures("slurm_programs")
def test_slurm_takes_its_options_with_and_without_its_name(tmp_path):
    engine = find_engine("slurm", {"partition": "gpu", "slurm_qos": "low"}, tmp_path)
    assert isinstance(engine, Slurm)
    parameters = engine._executor._executor.parameters
    assert (parameters["partition"], parameters["qos"], parameters["time"]) == ("gpu", "low", 60)


@pytest.mark.usefixtures("slurm_programs")
def test_slurm_refuses_a_path_that_it_would_read_otherwise(tmp_path):
    with pytest.raises(ValueError, match="would read the % in this path; choose another --out"):
        find_engine("slurm", {}, tmp_path / "50%j")


def broken() -> None:
    """A factory of a user's own that cannot do its work."""
    raise RuntimeError("no dask here")


def answer() -> int:
    """A factory of a user's own that makes no executor."""
    return 42


def test_a_file_with_more_than_an_executor_is_refused(tmp_path):
    file = tmp_path / "cluster.toml"
    file.write_text('[executor]\nname = "local"\n\n[options]\nworkers = 2\n')
    with pytest.raises(ValueError, match=r"cluster\.toml: options: only \[executor\] is read"):
        find_engine(str(file), {}, tmp_path)


def test_options_of_a_file_give_way_to_those_given(tmp_path):
    file = tmp_path / "cluster.toml"
    file.write_text('[executor]\nname = "ray"\nnum_cpus = 4\nmax_retries = 1\n')
    engine = find_engine(str(file), {"num_cpus": 2}, tmp_path)
    assert isinstance(engine, Ray)
    assert (engine._of_job["num_cpus"], engine._of_job["max_retries"]) == (2, 1)


def test_a_factory_of_ones_own_runs_jobs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own_cluster.py").write_text(
        "from concurrent.futures import ThreadPoolExecutor\n\n\n"
        "def threads(count):\n    return ThreadPoolExecutor(count)\n"
    )
    engine = find_engine("own_cluster:threads", parsed_options(["count=2"]), tmp_path)
    assert isinstance(engine, FuturesEngine)
    outcomes = engine.run([Job(max, (1, 2)), Job(int, ("x",))], lambda over: None)
    assert outcomes[0].value == 2
    assert "invalid literal" in str(outcomes[1].fault)
