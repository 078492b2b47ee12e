"""What changes while training, and how it is kept so that a killed run goes on from it.

Each step that is kept leaves a checkpoint, then `state.safetensors`, which holds the optimiser's
moments too. A process killed between the two goes on from the state before, and writes the same
checkpoint again.
"""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import torch
from torch import Tensor

from hooks import build
from hooks.models import HookedModel, move, parameters_of, restore
from interp.checkpoints import Checkpoint, pack
from interp.experiment import Experiment, Training
from interp.run import Run, append_whole, read_metrics, write_whole

Row = dict[str, float]
MOMENTS = ("exp_avg", "exp_avg_sq")
OPTIMIZERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}


@dataclass(eq=False)
class Trainee:
    """What changes while training: the model, its optimiser, the number of updates, the metrics."""

    model: HookedModel
    optimizer: torch.optim.Optimizer
    step: int
    rows: list[Row]


def fresh(experiment: Experiment, device: torch.device) -> Trainee:
    """An untrained model with its optimiser.

    Raises:
        ValueError: A pattern of `training.frozen` matches no parameter.
    """
    training = experiment.training
    assert training is not None
    seed, sizes = experiment.seeds.model, experiment.task.sizes
    model = build(experiment.model, sizes, seed=seed, dtype=training.dtype)
    return Trainee(model, _optimizer(model, training, device), step=0, rows=[])


def resumed(run: Run, training: Training, device: torch.device) -> Trainee | None:
    """The state that an earlier call left behind, or None where that kept nothing yet.

    Raises:
        ValueError: The state is damaged, or missing beside checkpoints of later steps than 0, or
            metrics that decide when to stop are missing.
    """
    file = run.path / "state.safetensors"
    if not file.is_file():
        if run.steps and run.steps[-1] > 0:
            raise ValueError(
                f"{run.path} has checkpoints but no {file.name} to go on from; "
                "train in a new folder"
            )
        return None
    kept = Checkpoint(file, remedy="training cannot go on from it: use a new folder")
    if "step" not in kept.facts:
        raise ValueError(f"{file} is of an older version, without its step; use a new folder")
    tensors, step = dict(kept), int(kept.facts["step"])
    parameters = {name: value for name, value in tensors.items() if "/" not in name}
    model = restore(run.experiment.model, run.experiment.task.sizes, parameters)
    optimizer = _optimizer(model, training, device)
    if len(tensors) > len(parameters):
        _load_moments(model, optimizer, tensors, step)
    return Trainee(model, optimizer, step, _rows_before(run, training, step))


def keep(run: Run, trainee: Trainee) -> None:
    """Writes the checkpoint, then the state that training resumes from."""
    parameters = {
        name: value.cpu().contiguous() for name, value in parameters_of(trainee.model).items()
    }
    write_whole(run.path / "checkpoints" / f"{trainee.step}.safetensors", pack(parameters))
    states = trainee.optimizer.state_dict()["state"]
    moments = {
        f"{moment}/{name}": states[index][moment].cpu()
        for index, name in enumerate(_trained(trainee.model))
        for moment in (MOMENTS if states else ())
    }
    content = pack(parameters | moments, step=trainee.step)
    write_whole(run.path / "state.safetensors", content)


def rewrite_metrics(run: Run, rows: list[Row]) -> None:
    """Writes the metrics anew: those of later steps than the state are recorded again."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    write_whole(run.path / "metrics.jsonl", lines.encode())


def append_metrics(run: Run, row: Row) -> None:
    """Adds a line to the metrics."""
    append_whole(run.path / "metrics.jsonl", (json.dumps(row) + "\n").encode())


def _rows_before(run: Run, training: Training, step: int) -> list[Row]:
    """The metrics of earlier steps, all of which a stop rule has to see.

    Raises:
        ValueError: Some are missing, and the experiment has a stop rule.
    """
    file = run.path / "metrics.jsonl"
    rows = [row for row in read_metrics(file) if row["step"] < step]
    wanted = {each for each in training.evaluate.up_to(training.steps) if each < step}
    lacking = sorted(wanted - {int(row["step"]) for row in rows})
    if lacking:
        text = f"{file} lacks {len(lacking)} of {len(wanted)} rows, the first of step {lacking[0]}"
        if training.stop is not None:
            raise ValueError(
                f"{text}, and training.stop reads them; put them back or train in a new folder"
            )
        warnings.warn(f"{text}; they are not measured again", stacklevel=2)
    return rows


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
    return OPTIMIZERS[training.optimizer](
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=training.lr,
        betas=training.betas,
        eps=training.eps,
        weight_decay=training.weight_decay,
        fused=True,
    )


def _load_moments(
    model: HookedModel, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], step: int
) -> None:
    states = {
        index: {moment: tensors[f"{moment}/{name}"] for moment in MOMENTS}
        | {"step": torch.tensor(float(step))}
        for index, name in enumerate(_trained(model))
    }
    optimizer.load_state_dict(optimizer.state_dict() | {"state": states})


def _trained(model: HookedModel) -> list[str]:
    """Names of the parameters that are trained, in the optimiser's order."""
    return [name for name, value in model.named_parameters() if value.requires_grad]
