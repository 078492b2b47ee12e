"""One update of the weights: of a model alone by torch's optimisers, of a stack by our own.

Torch's have one learning rate, decay and pair of betas for all that they update. Replicas in a
stack differ in them, so there the same formulas run on a matrix with a row for each replica. Both
clip the loss' gradient first, then penalise, then update. The functions behind torch's optimisers
are called, not their classes, whose first use imports torch.compile: a second of every run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from interp.config import Training

# torch's names of what each optimiser remembers of every parameter.
MOMENTS = {
    "adamw": ("exp_avg", "exp_avg_sq"),
    "adam": ("exp_avg", "exp_avg_sq"),
    "sgd": ("momentum_buffer",),
}
# Options of [training] in which replicas in a stack may differ.
PER_REPLICA_OPTIONS = (
    "lr",
    "betas",
    "eps",
    "momentum",
    "weight_decay",
    "l1",
    "grad_clip",
    "init_scale",
)
# Values of options with which they change nothing.
NEUTRAL = {
    "beta1": 0.0,
    "beta2": 0.0,
    "eps": 0.0,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "l1": 0.0,
    "grad_clip": torch.inf,
}


class LoneOptimizer:
    """Torch's update of a lone model; `clip_and_penalise` adds what it lacks.

    Args:
        parameters: What is updated, by name.
        training: How.

    Attributes:
        moments: By torch's name and the parameter's, of parameters that had a gradient.
        updates: How many updates each parameter has had, by name.
    """

    def __init__(self, parameters: Mapping[str, Tensor], training: Training) -> None:
        self._parameters, self._training = parameters, training
        self.reset()

    def reset(self) -> None:
        """Forgets the moments."""
        has_moments = self._training.optimizer != "sgd" or self._training.momentum
        names = MOMENTS[self._training.optimizer] if has_moments else ()
        self.moments: dict[str, dict[str, Tensor]] = {name: {} for name in names}
        self.updates: dict[str, Tensor] = {}

    def update(self, lr: float) -> None:
        """Updates, in place, the parameters that have a gradient."""
        changing = {n: p for n, p in self._parameters.items() if p.grad is not None}
        for name, parameter in changing.items():
            if name not in self.updates:
                self.updates[name] = torch.zeros((), device=parameter.device)
                for values in self.moments.values():
                    values[name] = torch.zeros_like(parameter)
        torch_update(
            list(changing.values()),
            [parameter.grad for parameter in changing.values() if parameter.grad is not None],
            [[values[name] for name in changing] for values in self.moments.values()],
            [self.updates[name] for name in changing],
            self._training,
            lr,
        )


@torch.no_grad()
def torch_update(
    parameters: list[Tensor],
    gradients: list[Tensor],
    moments: list[list[Tensor]],
    updates: list[Tensor],
    training: Training,
    lr: float | Tensor,
    *,
    capturable: bool = False,
) -> None:
    """An update by torch's fused kernels, in place.

    Args:
        parameters: What is updated.
        gradients: Their gradients.
        moments: Of each of `MOMENTS`, one a parameter.
        updates: How many updates each parameter has had; counted up.
        training: Names the optimiser and its options.
        lr: The learning rate.
        capturable: Whether the update is part of a CUDA graph.
    """
    shared: dict[str, Any] = {"lr": lr, "weight_decay": training.weight_decay, "fused": True}
    if training.optimizer == "sgd":
        [buffers] = moments or [[None] * len(parameters)]
        options = {"momentum": training.momentum, "dampening": 0.0, "nesterov": False}
        sgd(parameters, gradients, list(buffers), maximize=False, **options, **shared)
        return
    first, second = moments
    options = {
        "beta1": training.betas[0],
        "beta2": training.betas[1],
        "eps": training.eps,
        "decoupled_weight_decay": training.optimizer == "adamw",
        "capturable": capturable,
    }
    shared |= {"amsgrad": False, "maximize": False}
    adam(parameters, gradients, first, second, [], updates, **options, **shared)


def clip_and_penalise(parameters: Sequence[Tensor], training: Training, lr: float) -> None:
    """Clips the gradients and applies the L1 penalty, in place, before the optimiser's step."""
    if training.grad_clip is not None:
        torch.nn.utils.clip_grad_norm_(parameters, training.grad_clip)
    if not training.l1:
        return
    with torch.no_grad():
        for parameter in parameters:
            if training.optimizer == "adamw":
                parameter.sub_(parameter.sign(), alpha=lr * training.l1)
            elif parameter.grad is not None:
                parameter.grad.add_(parameter.sign(), alpha=training.l1)


Column = Float[Tensor, "replica 1"]
Matrix = Float[Tensor, "replica parameter"]


@dataclass(frozen=True, eq=False)
class StackOptimizer:
    """The update of a stack: options are columns of float64, with one row for each replica.

    Attributes:
        name: adamw, adam or sgd.
        options: By name; `betas` as `beta1` and `beta2`, no clipping as infinity.
        used: Options that change anything for any replica; the others cost nothing.
        moments: By torch's name, updated in place.
        updates: How many updates were made: a tensor, so that a captured step counts on.
        fused: The options that all replicas share, if they do: torch's own update then passes over
            the matrix once, as if it were one model's.
    """

    name: str
    options: Mapping[str, Column]
    used: frozenset[str]
    moments: Mapping[str, Matrix]
    updates: Float[Tensor, ""]
    fused: Training | None

    @classmethod
    def of(
        cls,
        parameters: Matrix,
        trainings: Sequence[Training],
        moments: Mapping[str, Matrix],
        step: int,
    ) -> "StackOptimizer":
        """The optimiser of replicas that stand at one step.

        Args:
            parameters: One row for each replica: the leaf that is updated.
            trainings: One for each replica; they differ in `PER_REPLICA_OPTIONS` alone.
            moments: As of `step`, on the device and in the dtype of the parameters.
            step: How many updates the moments hold.
        """
        device, name = parameters.device, trainings[0].optimizer
        rows = [_numbers(training) for training in trainings]
        columns = {
            name: torch.tensor([[row[name]] for row in rows], dtype=torch.double, device=device)
            for name in NEUTRAL
        }
        used = frozenset(
            name for name, unused in NEUTRAL.items() if any(row[name] != unused for row in rows)
        )
        updates = torch.tensor(float(step), device=device)
        is_uniform = all(row == rows[0] for row in rows) and len({t.lr for t in trainings}) == 1
        # On a GPU the fused kernel reads the learning rate in float32.
        can_fuse = device.type == "cpu" or parameters.dtype == torch.float32
        fused = trainings[0] if is_uniform and can_fuse and name != "sgd" else None
        return cls(name, columns, used, moments, updates, fused)

    @torch.no_grad()
    def update(self, parameters: Matrix, gradient: Matrix, lr: Column) -> None:
        """Updates the parameters of all replicas in place; `gradient` is overwritten."""
        if "grad_clip" in self.used:
            norms = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
            allowed = self.options["grad_clip"].to(norms) / (norms + 1e-6)
            gradient.mul_(allowed.clamp(max=1.0))
        for penalty, pull in (("l1", torch.sign), ("weight_decay", torch.clone)):
            if penalty not in self.used or (self.fused and penalty == "weight_decay"):
                continue
            if self.name == "adamw":
                parameters.sub_(pull(parameters) * (lr * self.options[penalty]).to(gradient))
            else:
                gradient.add_(pull(parameters) * self.options[penalty].to(gradient))
        if self.fused is not None:
            # A tensor, since a replayed step reads no number of Python's.
            rate = lr[0, 0] if parameters.device.type == "cpu" else lr[0, 0].float()
            moments = [[values] for values in self.moments.values()]
            options = {"capturable": parameters.device.type != "cpu"}
            torch_update(
                [parameters], [gradient], moments, [self.updates], self.fused, rate, **options
            )
            return
        self.updates.add_(1.0)
        step = self._sgd if self.name == "sgd" else self._adam
        step(parameters, gradient, lr)

    @torch.no_grad()
    def reset(self) -> None:
        """Forgets the moments, in place."""
        for values in (*self.moments.values(), self.updates):
            values.zero_()

    def _sgd(self, parameters: Matrix, gradient: Matrix, lr: Column) -> None:
        buffer = self.moments["momentum_buffer"]
        buffer.mul_(self.options["momentum"].to(gradient)).add_(gradient)
        parameters.sub_(buffer * lr.to(gradient))

    def _adam(self, parameters: Matrix, gradient: Matrix, lr: Column) -> None:
        """Kingma and Ba 2015 (arXiv:1412.6980), algorithm 1."""
        first, second = self.moments["exp_avg"], self.moments["exp_avg_sq"]
        beta1, beta2 = self.options["beta1"], self.options["beta2"]
        first.lerp_(gradient, (1 - beta1).to(gradient))
        second.mul_(beta2.to(gradient)).addcmul_(gradient, gradient * (1 - beta2).to(gradient))
        # Corrections of the bias towards 0: columns, in float64 since 1 - beta is small.
        updates = self.updates.double()
        rate, root = lr / (1 - beta1**updates), (1 - beta2**updates).sqrt()
        spread = second.sqrt().div_(root.to(gradient)).add_(self.options["eps"].to(gradient))
        parameters.sub_((first / spread).mul_(rate.to(gradient)))


def _numbers(training: Training) -> dict[str, float]:
    """The options of a training that `NEUTRAL` names, each a single number."""
    beta1, beta2 = training.betas
    clip = torch.inf if training.grad_clip is None else training.grad_clip
    return {"beta1": beta1, "beta2": beta2, "grad_clip": clip} | {
        name: getattr(training, name) for name in ("eps", "momentum", "weight_decay", "l1")
    }
