"""Train one model and keep every stage of it.

A straight loop: at each step record metrics if it is time, keep a checkpoint if it is time, and
update. Batches are a function of the step and the stop rule is a function of the metrics, so that
a run that was killed continues from its last checkpoint bit for bit (on the CPU).
"""

import json
import math
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch

from hooks import Snapshot
from hooks.fast import training_logits
from interp.batches import batch_source
from interp.experiment import Experiment, Training
from interp.lock import alone
from interp.run import Run, write_whole
from interp.state import Row, Trainee, append_metrics, fresh, keep, resumed, rewrite_metrics

Device = Literal["auto", "cpu", "cuda"]


def train(
    experiment: Experiment,
    path: str | Path,
    *,
    device: Device = "auto",
    on_evaluate: Callable[[Row, int], None] = lambda row, end: None,
) -> Run:
    """Trains an experiment into a run folder, or carries on where an earlier call was stopped.

    Args:
        experiment: What to train.
        path: The run folder; made where missing.
        device: auto takes CUDA where there is one.
        on_evaluate: Called with each row of metrics and the step at which training will end.

    Returns:
        The run, finished.

    Raises:
        ValueError: The experiment has no training, the folder belongs to another experiment, or
            the loss is no longer a number.
    """
    training = experiment.training
    if training is None:
        raise ValueError(f"experiment {experiment.name} has no [training] table to train by")
    place = pick_device(device)
    with writing(experiment, Path(path)) as run:
        trainee = resumed(run, training, place) or fresh(experiment, place)
        rewrite_metrics(run, trainee.rows)
        updates = _updates(experiment, trainee, place)
        scores = _scores(experiment, trainee)
        evaluated, kept = (
            steps.up_to(training.steps) for steps in (training.evaluate, training.checkpoints)
        )
        end = end_of(training, trainee.rows)
        while True:
            step = trainee.step
            if step in evaluated or step == end:
                trainee.rows.append(scores())
                append_metrics(run, trainee.rows[-1])
                end = end_of(training, trainee.rows)
                on_evaluate(trainee.rows[-1], end)
            if step in kept or step == end:
                keep(run, trainee)
            if step == end:
                return run
            updates()
            trainee.step += 1


def end_of(training: Training, rows: list[Row]) -> int:
    """The step at which training ends, as far as the metrics so far tell."""
    stop = training.stop
    if stop is None:
        return training.steps
    if rows and stop.metric not in rows[0]:
        raise ValueError(
            f"training.stop.metric: no metric '{stop.metric}'; there are {', '.join(rows[0])}"
        )
    held = [row[stop.metric] >= stop.at_least for row in rows]
    for first in range(len(held) - stop.evaluations + 1):
        if all(held[first : first + stop.evaluations]):
            confirmed = int(rows[first + stop.evaluations - 1]["step"])
            end = max(int(rows[first]["step"]) + stop.extra_steps, confirmed)
            return min(end, training.steps)
    return training.steps


def learning_rate(training: Training, step: int) -> float:
    """The learning rate of the update that leads from `step` to the next."""
    warmup = training.warmup_steps
    return training.lr * min(step / warmup, 1.0) if warmup else training.lr


def pick_device(device: Device) -> torch.device:
    """The device to run on; auto takes CUDA where there is one.

    Raises:
        ValueError: cuda was asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda: torch sees no GPU here; use --device cpu or auto")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


@contextmanager
def writing(experiment: Experiment, path: Path) -> Iterator[Run]:
    """The run folder of an experiment, made where missing, and held against other writers.

    Raises:
        ValueError: The folder belongs to another experiment, or another process writes to it.
        OSError: It cannot be made.
    """
    _check_folder(experiment, path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"{path} cannot be made ({reason}); choose another place") from None
    with alone(path):
        _check_folder(experiment, path)  # again, since another process may have begun it
        if not Run(path).steps:
            write_whole(path / "experiment.toml", experiment.to_toml().encode())
        if not (path / "environment.json").is_file():
            write_whole(path / "environment.json", _environment().encode())
        yield Run(path)


def _check_folder(experiment: Experiment, path: Path) -> None:
    file = path / "experiment.toml"
    if file.is_file():
        # A folder without checkpoints is a training refused at its start: it takes the corrected.
        if Run(path).steps and Run(path).experiment != experiment:
            raise ValueError(f"{file} is another experiment; choose a new folder with --out")
    elif path.is_dir() and any(not each.name.startswith(".") for each in path.iterdir()):
        raise ValueError(f"{path} is not empty and holds no experiment.toml; choose another")


def _environment() -> str:
    versions = {name: version(name) for name in ("interp", "torch", "transformer-lens")}
    facts = versions | {"python": platform.python_version(), "threads": torch.get_num_threads()}
    return json.dumps(facts, indent=1) + "\n"


def _updates(experiment: Experiment, trainee: Trainee, device: torch.device) -> Callable[[], None]:
    """A function that makes the next update."""
    task, training = experiment.task, experiment.training
    assert training is not None
    batch_at = batch_source(experiment, device)
    logits_of = training_logits(trainee.model, experiment.model, task.positions)
    loss_dtype = getattr(torch, training.loss_dtype)

    def update() -> None:
        trainee.optimizer.param_groups[0]["lr"] = learning_rate(training, trainee.step)
        batch = batch_at(trainee.step)
        inputs = batch["tokens"] if "tokens" in batch else batch["inputs"]
        loss = task.loss(logits_of(inputs).to(loss_dtype), batch) * training.loss_scale
        trainee.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        trainee.optimizer.step()

    return update


def _scores(experiment: Experiment, trainee: Trainee) -> Callable[[], Row]:
    """A function that scores the model as it is now on every evaluated split."""
    task, seed = experiment.task, experiment.seeds.data
    splits = {split: task.examples(split, None, seed) for split in task.evaluated}

    def scores() -> Row:
        row: Row = {"step": trainee.step}
        for split, examples in splits.items():
            snapshot = Snapshot.of(trainee.model, examples, config=experiment.model)
            found = task.score(snapshot)
            row |= {f"{split}.{name}": value for name, value in found.items()}
        if any(math.isnan(value) for value in row.values()):
            raise ValueError(
                f"training.lr: a metric is not a number at step {trainee.step}; lower lr"
            )
        return row

    return scores
