"""An update of the mod-113 preset against a plain loop on TransformerLens 3.9, both full batch."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from hooks import build, to_transformer_lens
from interp.config.experiment import Experiment, load_experiment
from interp.randomness import generator
from interp.training.loop import LoneStepper
from interp.training.state import fresh
from tests.bench import Comparison, interleaved


def plain_update(experiment: Experiment) -> tuple[Any, Callable[[], None]]:
    """A model and the update anyone would write: all positions, default AdamW."""
    training, task = experiment.training, experiment.task
    assert training is not None
    ours: Any = build(experiment.model, task.sizes, seed=experiment.seeds.model)
    model = to_transformer_lens(ours)
    data = task.data(None, generator(experiment.seeds.data, 0))
    optimizer = torch.optim.AdamW(
        model.parameters(), training.lr, training.betas, training.eps, training.weight_decay
    )

    def update() -> None:
        logits = model(data["tokens"])[:, -1].double()
        loss = cross_entropy(logits, data["targets"][:, 0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return model, update


def our_update(experiment: Experiment) -> tuple[Any, Callable[[], None]]:
    """A model and the update of `interp.train`."""
    cpu = torch.device("cpu")
    stepper = LoneStepper(experiment, fresh(experiment), cpu)
    return stepper.model, lambda: stepper.advance(stepper.step + 1)


def compare() -> Comparison:
    """Both sides in float32 with the loss in float64, without warm-up."""
    preset = load_experiment("modular-addition-113")
    assert preset.training is not None
    training = preset.training.model_copy(update={"warmup_steps": 0})
    experiment = preset.model_copy(update={"training": training})
    (plain_model, plain), (our_model, ours) = plain_update(experiment), our_update(experiment)
    for update in (plain, ours):
        update()
    assert_close(training_loss(our_model, experiment), training_loss(plain_model, experiment))
    times = interleaved(plain, ours, repeats=11)
    return Comparison("training step, modular-addition-113", *times, goal=4)


def training_loss(model: Any, experiment: Experiment) -> torch.Tensor:
    """The training loss of a model as it stands."""
    data = experiment.task.data(None, generator(experiment.seeds.data, 0))
    with torch.no_grad():
        return experiment.task.loss(model(data["tokens"])[:, -1:].double(), data)
