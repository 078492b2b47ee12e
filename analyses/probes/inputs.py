"""What do probes read, and from what?

Labels as values, positions as indices into each example, sites as features by example and
position, and the raw input as a feature vector.
"""

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from operator import index
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from hooks import Examples, Snapshot
from hooks.messages import at_step
from hooks.stream import stream

# The sites that are probed by default: with a residual stream, and without one.
STREAM_SITES = re.compile(r"hook_embed|blocks\.\d+\.hook_resid_(mid|post)")
DEFAULT_SITES = (  # one of these a model has, if any site is chosen for it
    "hook_embed",
    "blocks.0.hook_resid_mid",
    "blocks.0.hook_resid_post",
    "blocks.0.mlp.hook_post",
)
NEURON_SITES = re.compile(r"hook_embed|blocks\.\d+\.mlp\.hook_post")


def label_values(examples: Examples, labels: Any) -> dict[str, Shaped[Tensor, "batch ..."]]:
    """Labels by name, with one value for each example or for each position.

    Args:
        examples: Where names are looked up.
        labels: Names, or arrays by name; None for every label with one value an example.

    Raises:
        ValueError: There is no such label, or an array has no name or does not fit the examples.
    """
    if labels is None:
        labels = [name for name, values in examples.labels.items() if values.ndim == 1]
    if isinstance(labels, str):
        labels = [labels]
    if not isinstance(labels, Mapping):
        if hasattr(labels, "dtype") or not all(isinstance(name, str) for name in labels):
            raise ValueError('labels: an array needs a name; give {"name": array}')
        labels = {name: examples.label(name) for name in labels}
    known = {name: as_values(values) for name, values in labels.items()}
    n_examples, n_pos = examples.visible.shape
    for name, values in known.items():
        if tuple(values.shape) not in ((n_examples,), (n_examples, n_pos)):
            raise ValueError(
                f"label '{name}' has shape {list(values.shape)}; give one value for each of the "
                f"{n_examples} examples, or an array of shape {[n_examples, n_pos]}"
            )
    return known


def as_values(values: Any) -> Tensor:
    """Integers and booleans as int64, floats as float64, anything else as classes in its order."""
    array = np.asarray(values.cpu() if isinstance(values, Tensor) else values)
    if array.dtype.kind == "f":
        return torch.from_numpy(array.astype(np.float64))
    if array.dtype.kind not in "biu":
        array = np.unique(array, return_inverse=True)[1].reshape(array.shape)
    return torch.from_numpy(array.astype(np.int64))


def group_values(examples: Examples, group: str | None) -> Int[Tensor, " batch"]:
    """Each example's group: its value of a label; without a label every example is a group.

    Raises:
        ValueError: There is no such label, or it has a value a position.
    """
    if group is None:
        return torch.arange(len(examples))
    values = as_values(examples.label(group))
    if values.ndim != 1:
        raise ValueError(f"group '{group}' has a value a position; groups need one an example")
    return torch.unique(values, return_inverse=True)[1]


def digest(examples: Examples, how: Mapping[str, Any]) -> str:
    """Code of the examples and of how they are probed: equal where results can be compared."""
    inputs = zlib.crc32(examples.model_inputs.cpu().numpy().tobytes())
    return f"{zlib.crc32(repr(sorted(how.items())).encode(), inputs):08x}"


def beside_first(result: Any, reference: Any, step: int | None, untrained: str) -> Any:
    """A result with the scores and the raw input's scores of the first snapshot's result.

    Args:
        result: A result of probes, in which these scores are NaN.
        reference: The first snapshot's result; if left out, a result of step 0 is its own.
        step: The step of the result.
        untrained: The field for the scores of the first snapshot.

    Raises:
        ValueError: The reference was measured on other examples or with other options.
    """
    first = result if reference is None and step == 0 else reference
    if first is None:
        return result
    names = ("labels", "forms", "sites", "positions", "method", "probed")
    fields = [name for name in names if hasattr(result, name)]
    wanted, given = ([getattr(one, name) for name in fields] for one in (result, first))
    if wanted != given:
        raise ValueError(
            f"reference: its {', '.join(fields)} are {given}, here {wanted}: measure it on the "
            "same examples with the same options"
        )
    return replace(result, **{untrained: first.score, "raw": first.raw})


def places(
    examples: Examples, position: Any
) -> tuple[tuple[int, ...], Int[Tensor, "batch position"]]:
    """Positions, and where each lies in each example: -1 where an example is too short.

    Args:
        examples: Whose positions they are.
        position: One, several, or "all"; negative ones count from each example's end. None is the
            last scored position, if it is equally far from the end of every example, else the last
            position.

    Raises:
        ValueError: It is none of these, or no example has one of the positions.
    """
    lengths = examples.visible.sum(1).cpu()[:, None]
    if position is None:
        from_end = (examples.last_scored.cpu() - lengths[:, 0]).unique()
        position = int(from_end) if len(from_end) == 1 and examples.scored.any(1).all() else -1
    positions = named_positions(position, examples.visible.shape[1])
    wanted = torch.tensor(positions).expand(len(examples), -1)
    index = torch.where(wanted < 0, lengths + wanted, wanted)
    index = index.where((index >= 0) & (index < lengths), -1)
    for number, has in zip(positions, (index >= 0).any(0).tolist(), strict=True):
        if position != "all" and not has:
            raise ValueError(
                f"position {number}: no example has it; the longest has {int(lengths.max())} "
                "positions"
            )
    return positions, index


def named_positions(position: Any, n_pos: int) -> tuple[int, ...]:
    """The positions that an option names: one, several, or "all".

    Raises:
        ValueError: It is none of these.
    """
    if isinstance(position, str) and position == "all":
        return tuple(range(n_pos))
    is_one = isinstance(position, str) or not isinstance(position, Sequence)
    numbers: tuple[Any, ...] = (position,) if is_one else tuple(position)
    if not numbers or not all(isinstance(number, Integral) for number in numbers):
        raise ValueError(f"position = {position!r}: give a number, a list of numbers, or 'all'")
    return tuple(map(index, numbers))


def chosen_sites(snapshot: Snapshot, sites: str | Sequence[str] | None) -> list[str]:
    """The sites asked for; by default the embedding and the residual stream after half blocks.

    Where there is no residual stream, the neurons stand in for it.

    Raises:
        ValueError: None are named, or none are asked for and the model has none of these.
    """
    if sites is not None:
        named = [sites] if isinstance(sites, str) else list(sites)
        if not named:
            raise ValueError("sites: name one hook point at least, or leave it out")
        return named
    known = snapshot.live.model.hook_dict
    stream = [name for name in known if STREAM_SITES.fullmatch(name)]
    neurons = [name for name in known if NEURON_SITES.fullmatch(name)]
    matching = stream if any("resid" in name for name in stream) else neurons
    if not matching:
        raise ValueError(f"sites: name some of this model's hook points: {', '.join(known)}")
    return matching


def activations(
    snapshot: Snapshot, sites: Sequence[str], index: Int[Tensor, "batch position"]
) -> dict[str, Float[Tensor, "batch position feature"]]:
    """Activations at some positions by site, further axes flattened; the rest is never kept.

    A site with a single position, such as the neurons of an MLP, is read there, whatever the index.

    Raises:
        ValueError: A site does not exist, does not fire, has no axis of positions, or its
            activations are not finite.
    """
    n_pos = snapshot.examples.visible.shape[1]

    def pick(activation: Tensor, batch: slice) -> dict[str, Tensor]:
        if activation.ndim < 3 or activation.shape[1] not in (1, n_pos):
            raise ValueError(
                f"sites: a probe reads [position, ...] of {n_pos} positions, one of {list(sites)} "
                f"gives {list(activation.shape[1:])} an example"
            )
        wanted = index[batch].clamp(0, activation.shape[1] - 1).to(activation.device)
        rows = torch.arange(len(wanted), device=activation.device)[:, None]
        return {"picked": activation.flatten(2)[rows, wanted].cpu()}

    streamed = stream(
        snapshot, dict.fromkeys(sites, pick), combine=lambda parts: torch.cat([*parts])
    )
    picked = {site: statistics["picked"] for site, statistics in streamed.items()}
    for site, features in picked.items():
        if not features.isfinite().all():
            raise ValueError(
                f"activations at {site} hold NaN or infinity{at_step(snapshot.step)}: the model "
                "has diverged; probe an earlier step"
            )
    return picked


def raw_input(examples: Examples) -> Float[Tensor, "batch feature"]:
    """The input of all positions as one vector: tokens one-hot, or real inputs; 0 at padding."""
    inputs = examples.model_inputs.cpu()
    if examples.tokens is not None:
        inputs = torch.nn.functional.one_hot(inputs)
    flat = (inputs * examples.visible.cpu()[..., None]).flatten(1).double()
    return flat[:, flat.amin(0) < flat.amax(0)]
