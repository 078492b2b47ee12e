"""The state of a stack: many models side by side, as one matrix of numbers with a row for each.

The models are called replicas. They share shapes, task and options, and differ in seeds and in the
options named by `interp.training.optimizers.PER_REPLICA_OPTIONS`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from hooks import Examples, build
from hooks.fast.stack import Layout
from hooks.models import HookedModel, move
from interp.config.experiment import Experiment
from interp.config.training import Training
from interp.tasks import Batch
from interp.training.batches import Tables
from interp.training.optimizers import MOMENTS, StackOptimizer
from interp.training.state import State, is_trained


@dataclass(frozen=True, eq=False)
class DataCache:
    """Data that were drawn already, for stacks that are made anew when replicas leave.

    Attributes:
        tables: Fixed training sets by phase and data seed.
        batches: Batches that are graded, by split and data seed.
        examples: Examples that are scored by a task's own `score`, by split and data seed.
    """

    tables: Tables = field(default_factory=dict)
    batches: dict[tuple[str, int], Batch] = field(default_factory=dict)
    examples: dict[tuple[str, int], Examples] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class StackState:
    """Many models, and what their updates change, at one step.

    Attributes:
        experiments: One for each replica.
        trainings: How each replica is trained; they differ in `PER_REPLICA_OPTIONS` alone.
        model: A live model of their kind; its own parameters are not read.
        layout: Where each trained parameter lies in a row.
        trained: The trained parameters, updated in place.
        frozen: The other parameters, by name `[replica, ...]`.
        optimizer: Updates `trained`.
        step: Updates made.
    """

    experiments: tuple[Experiment, ...]
    trainings: tuple[Training, ...]
    model: HookedModel
    layout: Layout
    trained: Float[Tensor, "replica parameter"]
    frozen: Mapping[str, Tensor]
    optimizer: StackOptimizer
    step: int

    @property
    def parameters(self) -> dict[str, Tensor]:
        """All parameters by name, `[replica, ...]`."""
        return self.layout.split(self.trained) | dict(self.frozen)

    def copied(self) -> "StackState":
        """The same in memory of its own, which later updates do not reach."""
        moments = {name: value.clone() for name, value in self.optimizer.moments.items()}
        optimizer = replace(self.optimizer, moments=moments)
        return replace(self, trained=self.trained.detach().clone(), optimizer=optimizer)


def assembled(
    experiments: Sequence[Experiment], states: Sequence[State], device: torch.device
) -> StackState:
    """A stack, on a device, of replicas that stand at one step."""
    trainings = tuple(experiment.require_training() for experiment in experiments)
    first, training, step = experiments[0], trainings[0], states[0].step
    model = build(first.model, first.task.sizes, seed=0, dtype=training.dtype)
    move(model, device)
    model.train()
    names = [name for name, _ in model.named_parameters()]
    shapes = {name: tuple(states[0].parameters[name].shape) for name in names}
    layout = Layout({name: shapes[name] for name in names if is_trained(name, training)})
    trained = layout.join([state.parameters for state in states]).to(device).requires_grad_()
    moments = {
        moment: layout.join([_moment_of(state, moment) for state in states]).to(device)
        for moment in MOMENTS[training.optimizer]
    }
    frozen = {
        name: torch.stack([state.parameters[name] for state in states]).to(device)
        for name in names
        if name not in layout.shapes
    }
    updates = training.updates_remembered(step)
    optimizer = StackOptimizer.of(trained, trainings, moments, updates)
    return StackState(
        tuple(experiments), trainings, model, layout, trained, frozen, optimizer, step
    )


def _moment_of(state: State, name: str) -> dict[str, Tensor]:
    """A moment of every parameter: 0 before the first update, and where a lone model needs none."""
    return {
        parameter: state.moments.get(f"{name}/{parameter}", torch.zeros_like(value))
        for parameter, value in state.parameters.items()
    }


def states_of(stack: StackState) -> list[State]:
    """The state of each replica on the CPU, as if it had been trained alone."""
    parameters = {name: value.detach().cpu() for name, value in stack.parameters.items()}
    moments = {
        f"{moment}/{name}": value
        for moment, matrix in stack.optimizer.moments.items()
        for name, value in stack.layout.split(matrix.cpu()).items()
    }
    return [
        State(
            stack.step,
            {name: value[index] for name, value in parameters.items()},
            {name: value[index] for name, value in moments.items()} if stack.step else {},
        )
        for index in range(len(stack.experiments))
    ]
