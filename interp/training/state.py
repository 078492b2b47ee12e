"""Where training stands, and how it is kept so that a killed run goes on from it.

Each step that is kept leaves a checkpoint, then `state.safetensors`, which holds the optimiser's
moments too. A process killed between the two goes on from the state before, and writes the same
checkpoint again. A model trained alone and a replica in a stack leave the same files.
"""

import json
import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch

from torch import Tensor

from hooks import build
from hooks.models import parameters_of
from interp.config import Experiment, Training
from interp.runs import (
    Checkpoint,
    Run,
    append_whole,
    pack,
    read_metrics,
    remove,
    sync,
    write_whole,
)

Row = dict[str, float]


@dataclass(frozen=True, eq=False)
class State:
    """Where training stands: all that a later call goes on from, except for the metrics.

    Attributes:
        step: The number of updates made.
        parameters: By name.
        moments: What the optimiser remembers, by `<moment>/<parameter>` in torch's names
            (`exp_avg/embed.W_E`); empty before the first update.
    """

    step: int
    parameters: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]


def fresh(experiment: Experiment) -> State:
    """The untrained model."""
    training, seed = experiment.require_training(), experiment.seeds.model
    model = build(experiment.model, experiment.task.sizes, seed=seed, dtype=training.dtype)
    return State(
        step=0,
        parameters={
            name: value * training.init_scale if value.ndim > 1 else value
            for name, value in parameters_of(model).items()
        },
        moments={},
    )


def resumed(run: Run, experiment: Experiment) -> tuple[State, list[Row]]:
    """Where training goes on: the state that an earlier call left, or the untrained model.

    Returns:
        The state, and the metrics of earlier steps.

    Raises:
        ValueError: The state is damaged, of another run, or missing beside checkpoints of later
            steps than 0, or metrics that decide when to stop are missing.
    """
    training, file = experiment.require_training(), run.path / "state.safetensors"
    if not file.is_file():
        if run.steps and run.steps[-1] > 0:
            raise ValueError(
                f"{run.path} has checkpoints but no {file.name} to go on from; "
                "train in a new folder"
            )
        return fresh(experiment), []
    saved = Checkpoint(file, remedy="training cannot go on from it: use a new folder")
    step = _step_of(saved, training)
    if step in run.steps:
        _check_same(saved, run.parameters(step))
    tensors = dict(saved)
    state = State(
        step=step,
        parameters={name: value for name, value in tensors.items() if "/" not in name},
        moments={name: value for name, value in tensors.items() if "/" in name},
    )
    return state, _rows_before(run, training, step)


def keep(run: Run, state: State) -> None:
    """Writes the checkpoint, then the state that training resumes from."""
    parameters, moments = (
        {name: value.cpu().contiguous() for name, value in tensors.items()}
        for tensors in (state.parameters, state.moments)
    )
    write_whole(
        run.path / "checkpoints" / f"{state.step}.safetensors", pack(parameters, step=state.step)
    )
    sync(run.path / "metrics.jsonl")  # a state is no use without the metrics before it
    write_whole(run.path / "state.safetensors", pack(parameters | moments, step=state.step))


def is_trained(name: str, training: Training) -> bool:
    """Whether a parameter is trained rather than frozen.

    The keys' biases that heads share are called `attn._b_K`; a pattern for `attn.b_K` means them.
    """
    names = (name, name.replace(".attn._", ".attn."))
    return not any(fnmatch(name, pattern) for name in names for pattern in training.frozen)


def check_frozen(names: Iterable[str], training: Training) -> None:
    """Refuses patterns of frozen parameters that match nothing.

    Raises:
        ValueError: A pattern of `training.frozen` matches no parameter, or they leave none.
    """
    names = list(names)
    for pattern in training.frozen:
        if not any(fnmatch(name, pattern) for name in names):
            raise ValueError(
                f"training.frozen: '{pattern}' matches no parameter; there are {', '.join(names)}"
            )
    if not any(is_trained(name, training) for name in names):
        raise ValueError("training.frozen: nothing is left to train; take a pattern out")


def is_sound(row: Row) -> bool:
    """Whether all metrics are finite numbers; scores, but no losses, may be NaN (`drop_nan`)."""
    return all(
        math.isfinite(value) or (math.isnan(value) and not name.endswith("loss"))
        for name, value in row.items()
    )


def drop_nan(row: Row) -> Row:
    """Metrics without those that are NaN: scores of questions that nothing in a split asks."""
    return {name: value for name, value in row.items() if not math.isnan(value)}


def mark_diverged(run: Run, step: int) -> None:
    """Notes that a run cannot be finished, since its metrics are no longer numbers.

    `Run.failure` reads the reason.
    """
    reason = (
        f"training.lr: the metrics are not numbers at step {step}; lower lr"
        if step
        else "the metrics are not numbers before any update; bring init_scale and scales near 1"
    )
    content = json.dumps({"step": step, "reason": reason}).encode() + b"\n"
    write_whole(run.path / "failure.json", content)


def prepare_folder(run: Run, rows: list[Row]) -> None:
    """Makes a folder ready to be trained on.

    The metrics of later steps than the state are dropped, since they are recorded again. So is the
    mark of an earlier failure: it is set again if it still holds.
    """
    content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    write_whole(run.path / "metrics.jsonl", content)
    remove(run.path / "failure.json")


def append_metrics(run: Run, row: Row) -> None:
    """Adds a line to the metrics."""
    append_whole(run.path / "metrics.jsonl", (json.dumps(row) + "\n").encode())


def _step_of(saved: Checkpoint, training: Training) -> int:
    """The step that a state file names as its own.

    Raises:
        ValueError: It names none, or one that this training does not have.
    """
    if "step" not in saved.facts:
        raise ValueError(f"{saved.path} is of an older version, without its step; use a new folder")
    step = saved.facts["step"]
    if type(step) is not int or not 0 <= step <= training.steps:
        raise ValueError(
            f"{saved.path} says that it is of step {json.dumps(step)}, and training has steps 0 to "
            f"{training.steps}: it is another run's; use a new folder"
        )
    return step


def _check_same(state: Checkpoint, checkpoint: Checkpoint) -> None:
    """Refuses a state whose parameters are not those of the checkpoint of its step.

    Raises:
        ValueError: Their checksums differ. Files without checksums are taken as they are.
    """
    of_state, of_checkpoint = state.checksums or {}, checkpoint.checksums or {}
    if of_state and any(of_state.get(name) != value for name, value in of_checkpoint.items()):
        raise ValueError(
            f"{state.path} and {checkpoint.path} hold different parameters: one of them is another "
            "run's; put the right one back, or train in a new folder"
        )


def _rows_before(run: Run, training: Training, step: int) -> list[Row]:
    """The metrics of earlier steps, all of which a stop rule has to see.

    Raises:
        ValueError: Some are missing, and the experiment has a stop rule.
    """
    file = run.path / "metrics.jsonl"
    rows = [row for row in read_metrics(file) if row["step"] < step]
    wanted = {at for at in training.evaluate.up_to(training.steps) if at < step}
    lacking = sorted(wanted - {int(row["step"]) for row in rows})
    if lacking:
        text = f"{file} lacks {len(lacking)} of {len(wanted)} rows, the first of step {lacking[0]}"
        if training.stop is not None:
            raise ValueError(
                f"{text}, and training.stop reads them; put them back or train in a new folder"
            )
        warnings.warn(f"{text}; they are not measured again", stacklevel=2)
    return rows
