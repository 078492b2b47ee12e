"""An update of the in-context preset against a plain loop on the written-out model."""

from collections.abc import Callable
from typing import Any

import torch
from torch.testing import assert_close

from interp.config.experiment import Experiment, load_experiment
from interp.randomness import generator
from interp.tasks import Batch
from interp.training.loop import LoneStepper
from interp.training.state import fresh
from tests.bench import Comparison, interleaved, written_out

CPU = torch.device("cpu")


def plain_update(experiment: Experiment) -> tuple[Any, Callable[[], None]]:
    """A model and the update anyone would write: the model itself, and fresh prompts each time."""
    training, task = experiment.require_training(), experiment.task
    model = written_out(LoneStepper(experiment, fresh(experiment), CPU).model)
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.Adam(trained, training.lr, training.betas, training.eps)
    drawing = generator(0)

    def update() -> None:
        batch = task.data(training.batch_size, drawing)
        queries = model(batch["inputs"])[:, ::2, 0].double()
        loss = (queries - batch["targets"][:, ::2]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, training.grad_clip or torch.inf)
        optimizer.step()

    return model, update


def our_update(experiment: Experiment) -> tuple[Any, Callable[[], None]]:
    """A model and the update of `interp.train`."""
    stepper = LoneStepper(experiment, fresh(experiment), CPU)
    return stepper.model, lambda: stepper.advance(stepper.step + 1)


def gradient(experiment: Experiment, model: Any, logits_of: Callable, batch: Batch) -> Any:
    """Of the loss by the embedding, as one side's forward pass gives it."""
    loss = experiment.task.loss(logits_of(batch["inputs"]).double(), batch)
    return torch.autograd.grad(loss, model.embed.W_E)[0]


def compare() -> Comparison:
    """Both sides in float32 with the loss in float64, from the same first weights."""
    from hooks.fast import training_logits

    experiment = load_experiment("in-context-linear")
    batch = experiment.task.data(64, generator(1))
    (plain_model, plain), (our_model, ours) = plain_update(experiment), our_update(experiment)
    fast = training_logits(our_model, experiment.model, "all")
    assert_close(
        gradient(experiment, our_model, fast, batch),
        gradient(experiment, plain_model, plain_model, batch),
        rtol=1e-3,
        atol=1e-6,
    )
    times = interleaved(plain, ours, repeats=31)
    return Comparison("training step, in-context-linear", *times, goal=1.3)
