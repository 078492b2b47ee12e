"""A model changed for the length of a `with`.

An `Edit` is a value: parameters replaced, hooks added. `edited` applies edits to a live model and
takes every one back, also when the body raises. Parts are removed by zeroing what they add to the
residual stream: a head its `z`, a neuron its activation.

A model runs in batches that a hook cannot see. A hook that needs to know which examples it is
given (to take their activations from elsewhere) goes under `row_hooks`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from hooks.messages import near_names
from hooks.models.base import HookedModel

Hook = Callable[..., Any]


@dataclass(eq=False)
class Pass:
    """What a live model is being run on now.

    Attributes:
        rows: The examples of the batch, by number; None if whoever runs the model does not say.
        is_trial: Whether the pass only asks which hook points fire and how large their activations
            are: hooks of edits then stay out of it.
    """

    rows: Int[Tensor, " row"] | None = None
    is_trial: bool = False


@dataclass(frozen=True, eq=False)
class Edit:
    """A change to a model.

    Attributes:
        parameters: By name, a function from the parameter to what replaces it.
        hooks: By hook name, a function `(activation, hook)` that returns what replaces the
            activation. It is given a batch of examples, and does not learn which they are.
        row_hooks: By hook name, a function `(activation, hook, rows)`: row i of the activation
            belongs to example `rows[i]` of the snapshot. At one hook point they come after
            `hooks`, and later edits after earlier ones.
        n_examples: How many examples a snapshot must have to be edited so; None for any number.
    """

    parameters: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    hooks: Mapping[str, Hook] = field(default_factory=dict)
    row_hooks: Mapping[str, Hook] = field(default_factory=dict)
    n_examples: int | None = None

    @property
    def hook_names(self) -> tuple[str, ...]:
        """The hook points that it changes something at."""
        return tuple(dict.fromkeys([*self.hooks, *self.row_hooks]))


def without_heads(layer: int, heads: Collection[int]) -> Edit:
    """Heads of a layer write nothing: their `z` is zero."""
    return Edit(hooks={f"blocks.{layer}.attn.hook_z": partial(_zero, heads)})


def without_neurons(layer: int, neurons: Collection[int]) -> Edit:
    """Neurons of a layer write nothing: their activations are zero."""
    return Edit(hooks={f"blocks.{layer}.mlp.hook_post": partial(_zero, neurons)})


def without_directions(hook_name: str, directions: Float[Tensor, "direction d_model"]) -> Edit:
    """The span of some directions is projected out of an activation.

    Args:
        hook_name: A hook point whose last axis has the directions' size.
        directions: Rows that span the subspace; they need not be orthogonal.
    """
    basis = torch.linalg.qr(directions.T)[0]

    def project_out(activation: Tensor, hook: Any) -> Tensor:
        axes = basis.to(activation)
        return activation - (activation @ axes) @ axes.T

    return Edit(hooks={hook_name: project_out})


def with_weights(weights: Mapping[str, Tensor]) -> Edit:
    """Parameters take the given values, of the parameters' own shapes."""
    return Edit(
        parameters={
            name: lambda parameter, value=value: value.to(parameter)
            for name, value in weights.items()
        }
    )


def masked_weights(masks: Mapping[str, Shaped[Tensor, "..."]]) -> Edit:
    """Parameters are multiplied by masks: 1 or True keeps a weight, 0 or False removes it."""
    return Edit(
        parameters={
            name: lambda parameter, mask=mask: parameter * mask.to(parameter)
            for name, mask in masks.items()
        }
    )


@contextmanager
def edited(
    model: HookedModel, edits: Sequence[Edit], running: Pass | None = None
) -> Iterator[None]:
    """Applies edits to a live model, in order, and restores it bit for bit on leaving.

    Edited parameters hold other memory meanwhile, so that the model's own is never written to.

    Args:
        model: A live model.
        edits: What to change.
        running: What it will be run on, kept up to date by whoever runs it. If left out, row hooks
            are refused when they fire.

    Raises:
        ValueError: An edit names a parameter or hook point the model does not have, gives a
            parameter another shape, or removes a head or neuron beyond its last.
    """
    for edit in edits:
        check_names(edit.hook_names, model.hook_dict, "hook point")
        check_names(edit.parameters, dict(model.named_parameters()), "parameter")
    running = running or Pass()
    parameters = dict(model.named_parameters())
    originals = {name: parameters[name].data for edit in edits for name in edit.parameters}
    with ExitStack() as stack:
        stack.callback(_point, parameters, originals)
        for edit in edits:
            _point(parameters, _laid_out(parameters, replaced(parameters, edit)))
            hooks = [(name, partial(_plain, hook, running)) for name, hook in edit.hooks.items()]
            by_row = [(name, partial(_by_row, h, running)) for name, h in edit.row_hooks.items()]
            stack.enter_context(model.hooks(fwd_hooks=hooks + by_row))
        yield


def replaced(parameters: Mapping[str, Tensor], edit: Edit) -> dict[str, Tensor]:
    """The parameters that an edit changes, with their new values.

    Raises:
        ValueError: A new value has another shape than its parameter.
    """
    values = {name: change(parameters[name].detach()) for name, change in edit.parameters.items()}
    for name, value in values.items():
        wanted, came = list(parameters[name].shape), list(value.shape)
        if came != wanted:
            raise ValueError(f"parameter {name} has shape {wanted}, its edit gives {came}")
    return values


def check_names(names: Collection[str], known: Collection[str], what: str) -> None:
    """Refuses names that are not known, with near matches.

    Raises:
        ValueError: A name is not among the known ones.
    """
    for name in names:
        if name not in known:
            near = near_names(name, known, cutoff=0.4) or sorted(known)[:3]
            raise ValueError(f"no {what} '{name}'; did you mean {', '.join(near)}?")


def check_fired(names: Collection[str], fired: Collection[str]) -> None:
    """Refuses hook points that a pass did not come by.

    Raises:
        ValueError: A name is not among those that fired.
    """
    for name in names:
        if name not in fired:
            raise ValueError(f"hook point {name} exists but does not fire in this model")


def _zero(indices: Collection[int], activation: Tensor, hook: Any) -> Tensor:
    """An activation with 0 at some heads or neurons, which lie along its third axis."""
    size = activation.shape[2]
    if not all(0 <= index < size for index in indices):
        raise ValueError(f"{hook.name}: indices {sorted(indices)} are not all below {size}")
    where = torch.tensor(sorted(indices), dtype=torch.long, device=activation.device)
    return activation.index_fill(2, where, 0.0)


def _plain(function: Hook, running: Pass, activation: Tensor, hook: Any) -> Any:
    """What a hook returns; it stays out of trial passes."""
    return None if running.is_trial else function(activation, hook=hook)


def _by_row(function: Hook, running: Pass, activation: Tensor, hook: Any) -> Any:
    """What a row hook returns, given the rows that the model is run on."""
    if running.is_trial:
        return None
    if running.rows is None:
        raise ValueError(
            f"{hook.name}: a row hook does not know which examples it is given: run the model "
            "within `with snapshot.seeing(rows):`, or ask the snapshot for logits or a cache"
        )
    if len(running.rows) != len(activation):
        raise ValueError(
            f"{hook.name}: the model was run on {len(activation)} examples, within "
            f"seeing(rows) of {len(running.rows)}: give the rows of the batch"
        )
    return function(activation, hook, running.rows)


def _laid_out(parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of new values in their parameters' dtype, device and memory layout."""
    with torch.no_grad():
        return {name: torch.empty_like(parameters[name]).copy_(v) for name, v in values.items()}


def _point(parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Has parameters hold other memory; unlike writing, that leaves their version as it is."""
    for name, value in values.items():
        parameters[name].data = value
