"""A stack that is stopped anywhere ends with the bytes of one that never was."""

import json
from pathlib import Path

import pytest

from interp.config.experiment import Experiment
from interp.training.stack import train_stack
from interp.training.state import keep
from tests.interp.training.stacks import folders
from tests.planted import tiny_experiment

RATES = (0.3, 0.001, 0.1, 0.02, 0.001, 0.05, 0.003)


def ending_apart() -> list[Experiment]:
    """Networks of odd sizes, of which some reach their level early and one diverges."""
    stop = {"metric": "train.loss", "at_most": 1.85, "evaluations": 1, "extra_steps": 3}
    found = []
    for seed, rate in enumerate((*RATES, 1e30)):
        base = tiny_experiment(
            stop=stop,
            lr=rate,
            steps=60,
            optimizer="adam",
            weight_decay=0,
            frozen=(),
            loss_dtype="float32",
        )
        table = base.model_dump(mode="json", exclude_none=True)
        table["model"] = {"kind": "mlp", "d_model": 7, "d_mlp": 5, "act_fn": "gelu"}
        table["task"]["equals"] = False
        found.append(Experiment.model_validate(table).with_seed(seed))
    return found


def is_kept(file: Path) -> bool:
    """Whether a file is more than a note of who wrote to the folder, and how often."""
    return not file.name.startswith(".lease.")


def contents(path: Path) -> dict[str, bytes]:
    found = sorted(file for file in path.rglob("*") if file.is_file() and is_kept(file))
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in found}


class Stopping:
    """`keep`, until so many states are kept; then the process is stopped."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def __call__(self, run, state) -> None:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        keep(run, state)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("unbroken")
    train_stack(folders(ending_apart(), path), device="cpu")
    return contents(path)


def test_replicas_end_apart(unbroken):
    last = {max(int(Path(n).stem) for n in unbroken if n.startswith(f"{i}/che")) for i in range(8)}
    assert len(last) > 3


def test_a_step_is_recorded_once_where_others_leave(unbroken):
    rows = [unbroken[f"{replica}/metrics.jsonl"].splitlines() for replica in range(8)]
    steps = [[json.loads(row)["step"] for row in each] for each in rows]
    assert steps == [sorted(set(each)) for each in steps]


@pytest.mark.parametrize("calls", range(0, 30, 3))
def test_a_stopped_stack_ends_with_the_bytes_of_an_unbroken_one(
    calls, unbroken, tmp_path, monkeypatch
):
    replicas = folders(ending_apart(), tmp_path)
    monkeypatch.setattr("interp.training.loop.keep", Stopping(calls))
    with pytest.raises(KeyboardInterrupt):
        train_stack(replicas, device="cpu")
    monkeypatch.setattr("interp.training.loop.keep", keep)
    train_stack(replicas, device="cpu")
    assert contents(tmp_path) == unbroken


def test_a_replica_that_is_damaged_is_named_and_stops_no_other(tmp_path):
    replicas = folders(ending_apart(), tmp_path)
    train_stack(replicas, device="cpu")
    damaged, lost = tmp_path / "1", tmp_path / "4"
    (damaged / "metrics.jsonl").write_text("garbage\n")
    for checkpoint in (lost / "checkpoints").glob("[1-9]*"):
        checkpoint.unlink()
    with pytest.raises(ValueError, match=r"1 of 8 were not trained: .*/1/metrics\.jsonl, line 1"):
        train_stack(replicas, device="cpu")
    assert (lost / "checkpoints" / "60.safetensors").is_file()
