"""Train one model and keep every stage of it.

A straight loop: at each step record metrics if it is time, keep a checkpoint if it is time, and
update. Batches are a function of the step and the stop rule is a function of the metrics, so that
a run that was killed continues from its last checkpoint bit for bit (on the CPU). On a GPU a single
model is trained as a stack of one (`interp.training.stack`), whose steps are recorded and replayed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import Optimizer

from hooks import Snapshot
from hooks.fast.last_position import training_logits
from hooks.models import HookedModel, move, parameters_of, restore
from interp.config.experiment import Experiment
from interp.config.training import Training
from interp.randomness import generator
from interp.runs.run import Run, read_metrics
from interp.runs.writing import writing
from interp.tasks import model_inputs
from interp.training.batches import batch_source
from interp.training.device import Device, as_configured, pick_device
from interp.training.memory import check_memory
from interp.training.optimizers import MOMENTS, clip_and_penalise, optimizer_of
from interp.training.state import (
    Row,
    State,
    append_metrics,
    asked,
    check_frozen,
    fresh,
    is_sound,
    is_trained,
    keep,
    mark_failure,
    resumed,
    take_up,
)


@dataclass(eq=False)
class Trainee:
    """What changes while training: the model, its optimiser, the number of updates, the metrics."""

    model: HookedModel
    optimizer: Optimizer
    step: int
    rows: list[Row]

    @property
    def trained(self) -> dict[str, Tensor]:
        """Parameters that are not frozen, by name, in the optimiser's order."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}


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
        ValueError: The experiment has no training, or needs more memory than there is; the folder
            belongs to another experiment; or the metrics are no longer numbers (the folder is
            marked so: `Run.failure`).
    """
    training = training_of(experiment)
    check_memory(experiment)
    place = pick_device(device)
    if place.type == "cuda":
        from interp.training.stack import train_alone  # which itself needs what is below

        return train_alone(experiment, path, device=device, on_evaluate=on_evaluate)
    with writing(experiment, Path(path), place) as run, as_configured(training, place):
        trainee = trainee_of(experiment, resumed(run, training) or fresh(experiment), place)
        take_up(run, trainee.rows)
        updates = batch_updates(experiment, trainee, place)
        scores = scores_of(experiment, trainee)
        evaluated, kept = (
            steps.up_to(training.steps) for steps in (training.evaluate, training.checkpoints)
        )
        end = end_of(training, trainee.rows)
        while True:
            step = trainee.step
            if step in evaluated or step == end:
                row = scores()
                if not is_sound(row):
                    mark_failure(run, step, diverged(step))
                    raise ValueError(diverged(step))
                trainee.rows.append(asked(row))
                append_metrics(run, trainee.rows[-1])
                end = end_of(training, trainee.rows)
                on_evaluate(trainee.rows[-1], end)
            if step in kept or step == end:
                keep(run, state_of(trainee, training))
            if step == end:
                return run
            updates()
            trainee.step += 1


def training_of(experiment: Experiment) -> Training:
    """The experiment's training.

    Raises:
        ValueError: It has none.
    """
    if experiment.training is None:
        raise ValueError(f"experiment {experiment.name} has no [training] table to train by")
    return experiment.training


def end_of(training: Training, rows: list[Row]) -> int:
    """The step at which training ends, as far as the metrics so far tell."""
    stop = training.stop
    if stop is None:
        return training.steps
    held = [stop.is_held(row) for row in rows]
    for first in range(len(held) - stop.evaluations + 1):
        if all(held[first : first + stop.evaluations]):
            confirmed = int(rows[first + stop.evaluations - 1]["step"])
            end = max(int(rows[first]["step"]) + stop.extra_steps, confirmed)
            return min(end, training.steps)
    return training.steps


def is_done_with(path: Path, experiment: Experiment) -> bool:
    """Whether a folder holds the finished run of an experiment, or one marked as failed.

    One whose metrics are damaged is not done; training it says what is wrong.
    """
    run = Run(path)
    if run.failure:
        return True
    try:
        rows = read_metrics(path / "metrics.jsonl")
    except ValueError:
        return False
    if not rows or int(rows[-1]["step"]) not in run.steps:
        return False
    return end_of(training_of(experiment), rows) == int(rows[-1]["step"])


def trainee_of(experiment: Experiment, state: State, device: torch.device) -> Trainee:
    """A live model and its optimiser, as the state has them.

    Raises:
        ValueError: The state is of another model, or a pattern of frozen parameters matches none.
    """
    training = training_of(experiment)
    model = restore(experiment.model, experiment.task.sizes, state.parameters)
    check_frozen(state.parameters, training)
    move(model, device)
    model.train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_trained(name, training))
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = optimizer_of(list(trained.values()), training)
    if state.moments:
        names = {moment.partition("/")[0] for moment in state.moments}
        remembered = {
            index: {moment: state.moments[f"{moment}/{name}"] for moment in names}
            | {"step": torch.tensor(float(training.updates_remembered(state.step)))}
            for index, name in enumerate(trained)
        }
        optimizer.load_state_dict(optimizer.state_dict() | {"state": remembered})
    return Trainee(model, optimizer, state.step, list(state.rows))


def state_of(trainee: Trainee, training: Training) -> State:
    """What is to be kept of a trainee; tensors share memory with it."""
    states = trainee.optimizer.state_dict()["state"]
    moments = {
        f"{moment}/{name}": states[index][moment]
        for index, name in enumerate(trainee.trained)
        for moment in MOMENTS[training.optimizer]
        if isinstance(states.get(index, {}).get(moment), Tensor)
    }
    return State(trainee.step, parameters_of(trainee.model), moments, trainee.rows)


def batch_updates(
    experiment: Experiment, trainee: Trainee, device: torch.device
) -> Callable[[], None]:
    """A function that makes the next update."""
    task, training = experiment.task, training_of(experiment)
    batch_at = batch_source(experiment, device)
    logits_of = training_logits(trainee.model, experiment.model, task.positions)
    loss_dtype = getattr(torch, training.loss_dtype)
    trained = list(trainee.trained.values())
    drops = has_dropout(trainee.model)

    def update() -> None:
        lr = training.learning_rate(trainee.step)
        if drops:
            torch.manual_seed(dropout_seed(experiment, trainee.step))
        if training.begins_anew(trainee.step):
            trainee.optimizer.state.clear()
        trainee.optimizer.param_groups[0]["lr"] = lr
        batch = batch_at(trainee.step)
        loss = task.loss(logits_of(model_inputs(batch)).to(loss_dtype), batch)
        trainee.optimizer.zero_grad(set_to_none=True)
        (loss * training.loss_scale).backward()
        clip_and_penalise(trained, training, lr)
        trainee.optimizer.step()

    return update


def has_dropout(model: HookedModel) -> bool:
    """Whether updates of a model draw what to drop."""
    return any(isinstance(module, torch.nn.Dropout) for module in model.modules())


def dropout_seed(experiment: Experiment, step: int) -> int:
    """The seed of what is dropped in an update, so that a resumed run drops the same."""
    return generator(experiment.seeds.order, 0, 0, step).initial_seed()


def scores_of(experiment: Experiment, trainee: Trainee) -> Callable[[], Row]:
    """A function that scores the model as it is now on every evaluated split."""
    task, seed = experiment.task, experiment.seeds.data
    splits = {split: task.examples(split, None, seed) for split in task.evaluated}

    def scores() -> Row:
        row: Row = {"step": trainee.step}
        for split, examples in splits.items():
            snapshot = Snapshot.of(trainee.model, examples, config=experiment.model)
            found = task.score(snapshot)
            row |= {f"{split}.{name}": value for name, value in found.items()}
        return row

    return scores


def diverged(step: int) -> str:
    """What is said of a model whose metrics are no longer numbers."""
    if step == 0:
        return "the metrics are not numbers before any update; bring init_scale and scales near 1"
    return f"training.lr: the metrics are not numbers at step {step}; lower lr"
