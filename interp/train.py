"""Train one model and keep every stage of it.

A straight loop: at each step record metrics if it is time, keep a checkpoint if it is time, and
update. Batches are a function of the step and the stop rule is a function of the metrics, so that
a run that was killed continues from its last checkpoint bit for bit (on the CPU).
"""

import json
import math
import platform
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from hooks import Snapshot, build
from hooks.fast import training_logits
from hooks.models import HookedModel, move, parameters_of, restore
from interp.batches import batch_source
from interp.experiment import Experiment, Training
from interp.run import Run, read_metrics, write_whole

Device = Literal["auto", "cpu", "cuda"]
Row = dict[str, float]
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(eq=False)
class Trainee:
    """What changes while training: the model, its optimiser, the number of updates, the metrics."""

    model: HookedModel
    optimizer: torch.optim.Optimizer
    step: int
    rows: list[Row]


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
    run, place = open_run(experiment, Path(path)), pick_device(device)
    trainee = _resumed(run, training, place) or _fresh(experiment, place)
    updates = _updates(experiment, trainee, place)
    scores = _scores(experiment, trainee)
    evaluate, keep = (
        steps.up_to(training.steps) for steps in (training.evaluate, training.checkpoints)
    )
    _rewrite_metrics(run, trainee.rows)
    end = end_of(training, trainee.rows)
    while True:
        step = trainee.step
        if step in evaluate or step == end:
            trainee.rows.append(scores())
            _append_metrics(run, trainee.rows[-1])
            end = end_of(training, trainee.rows)
            on_evaluate(trainee.rows[-1], end)
        if step in keep or step == end:
            _keep(run, trainee)
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


def open_run(experiment: Experiment, path: Path) -> Run:
    """The run folder of an experiment, made where missing.

    Raises:
        ValueError: The folder belongs to another experiment.
    """
    run, text = Run(path), experiment.to_toml()
    file = path / "experiment.toml"
    if file.is_file() and run.experiment != experiment:
        raise ValueError(f"{file} is another experiment; choose a new folder with --out")
    if not file.is_file():
        if path.is_dir() and any(not each.name.startswith(".") for each in path.iterdir()):
            raise ValueError(f"{path} is not empty and holds no experiment.toml; choose another")
        write_whole(file, text.encode())
    if not (path / "environment.json").is_file():
        write_whole(path / "environment.json", _environment().encode())
    return run


def _environment() -> str:
    versions = {name: version(name) for name in ("interp", "torch", "transformer-lens")}
    facts = versions | {"python": platform.python_version(), "threads": torch.get_num_threads()}
    return json.dumps(facts, indent=1) + "\n"


def _fresh(experiment: Experiment, device: torch.device) -> Trainee:
    training = experiment.training
    assert training is not None
    seed, sizes = experiment.seeds.model, experiment.task.sizes
    model = build(experiment.model, sizes, seed=seed, dtype=training.dtype)
    return Trainee(model, _optimizer(model, training, device), step=0, rows=[])


def _optimizer(model: Any, training: Training, device: torch.device) -> torch.optim.Optimizer:
    move(model, device)
    names = [name for name, _ in model.named_parameters()]
    for pattern in training.frozen:
        if not any(fnmatch(name, pattern) for name in names):
            raise ValueError(
                f"training.frozen: '{pattern}' matches no parameter; there are {', '.join(names)}"
            )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not any(fnmatch(name, each) for each in training.frozen))
    kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
    return kinds[training.optimizer](
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=training.lr,
        betas=training.betas,
        eps=training.eps,
        weight_decay=training.weight_decay,
        fused=True,
    )


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


def _keep(run: Run, trainee: Trainee) -> None:
    """Writes the checkpoint, then the state that training resumes from."""
    parameters = {
        name: value.cpu().contiguous() for name, value in parameters_of(trainee.model).items()
    }
    checkpoint = run.path / "checkpoints" / f"{trainee.step}.safetensors"
    # One entry of metadata at most: safetensors writes several in random order, and other bytes
    # would be another checkpoint to whoever compares hashes.
    write_whole(checkpoint, save(parameters, metadata={"format": "pt"}))
    names = [name for name, value in trainee.model.named_parameters() if value.requires_grad]
    states = trainee.optimizer.state_dict()["state"]
    moments = {
        f"{moment}/{name}": states[index][moment].cpu()
        for index, name in enumerate(names)
        for moment in (MOMENTS if states else ())
    }
    write_whole(
        run.path / "state.safetensors",
        save(parameters | moments, metadata={"step": str(trainee.step)}),
    )


def _resumed(run: Run, training: Training, device: torch.device) -> Trainee | None:
    """The state that an earlier call left behind, or None where that kept nothing yet.

    Raises:
        ValueError: The state is damaged, or missing beside checkpoints of later steps than 0.
    """
    file = run.path / "state.safetensors"
    if not file.is_file():
        if run.steps and run.steps[-1] > 0:
            raise ValueError(
                f"{run.path} has checkpoints but no {file.name} to go on from; "
                "train in a new folder"
            )
        return None
    try:
        with safe_open(file, framework="pt") as opened:
            step = int(opened.metadata()["step"])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f"{file} is damaged ({error}), so training cannot go on from it; use a new folder"
        ) from None
    parameters = {name: value for name, value in tensors.items() if "/" not in name}
    model = restore(run.experiment.model, run.experiment.task.sizes, parameters)
    optimizer = _optimizer(model, training, device)
    names = [name for name, value in model.named_parameters() if value.requires_grad]
    if len(tensors) > len(parameters):
        optimizer.load_state_dict(
            optimizer.state_dict()
            | {
                "state": {
                    index: {moment: tensors[f"{moment}/{name}"] for moment in MOMENTS}
                    | {"step": torch.tensor(float(step))}
                    for index, name in enumerate(names)
                }
            }
        )
    rows = [row for row in read_metrics(run.path / "metrics.jsonl") if row["step"] < step]
    return Trainee(model, optimizer, step, rows)


def _rewrite_metrics(run: Run, rows: list[Row]) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    write_whole(run.path / "metrics.jsonl", lines.encode())


def _append_metrics(run: Run, row: Row) -> None:
    with (run.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
