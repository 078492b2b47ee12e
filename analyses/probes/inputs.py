"""What do probes read, and from what?

Labels as values, positions as indices into each example, sites as features by example and
position, and the raw input as a feature vector.
"""

import re
import zlib
from collections.abc import Mapping, Sequence
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

DEFAULT_SITES = re.compile(r"hook_embed|blocks\.\d+\.hook_resid_(mid|post)")
# Of a network without a residual stream.
OTHER_SITES = re.compile(r"hook_embed|blocks\.\d+\.mlp\.hook_post")


def label_values(examples: Examples, labels: Any) -> dict[str, Shaped[Tensor, "batch ..."]]:
    """Values by name, one an example or one a position.

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
    found = {name: as_values(values) for name, values in labels.items()}
    n_examples, n_pos = examples.visible.shape
    for name, values in found.items():
        if tuple(values.shape) not in ((n_examples,), (n_examples, n_pos)):
            raise ValueError(
                f"label '{name}' has shape {list(values.shape)}; give one value for each of the "
                f"{n_examples} examples, or an array of shape {[n_examples, n_pos]}"
            )
    return found


def as_values(values: Any) -> Tensor:
    """Integers and booleans as int64, floats as float64, anything else as classes in its order."""
    array = np.asarray(values.cpu() if isinstance(values, Tensor) else values)
    if array.dtype.kind == "f":
        return torch.from_numpy(array.astype(np.float64))
    if array.dtype.kind not in "biu":
        array = np.unique(array, return_inverse=True)[1].reshape(array.shape)
    return torch.from_numpy(array.astype(np.int64))


def group_values(examples: Examples, group: str | None) -> Int[Tensor, " batch"]:
    """Each example's group: its value of a label, or a group of its own.

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
    """Code of the examples and of how they are probed, to tell like results from unlike ones."""
    inputs = zlib.crc32(examples.model_inputs.cpu().numpy().tobytes())
    return f"{zlib.crc32(repr(sorted(how.items())).encode(), inputs):08x}"


def places(
    examples: Examples, position: Any
) -> tuple[tuple[int, ...], Int[Tensor, "batch position"]]:
    """Positions, and where each lies in each example: -1 where an example is too short.

    Args:
        examples: Whose positions they are.
        position: One, several, or "all"; negative ones count from each example's end. None is the
            last one that is scored.

    Raises:
        ValueError: It is none of these, or no example has one of the positions.
    """
    position = _last_scored(examples) if position is None else position
    positions = named_positions(position, examples.visible.shape[1])
    lengths = examples.visible.sum(1).cpu()[:, None]
    asked = torch.tensor(positions).expand(len(examples), -1)
    index = torch.where(asked < 0, lengths + asked, asked)
    index = index.where((index >= 0) & (index < lengths), -1)
    for each, has in zip(positions, (index >= 0).any(0).tolist(), strict=True):
        if position != "all" and not has:
            longest = int(lengths.max())
            raise ValueError(
                f"position {each}: no example has it; the longest has {longest} positions"
            )
    return positions, index


def _last_scored(examples: Examples) -> int:
    """Where the last answer is asked for, from each example's end; -1 where examples differ."""
    scored, visible = examples.scored.cpu().bool(), examples.visible.cpu()
    last = scored.shape[1] - scored.flip(1).int().argmax(1) - 1
    from_end = (last - visible.sum(1)).unique()
    return int(from_end) if len(from_end) == 1 and scored.any(1).all() else -1


def named_positions(position: Any, n_pos: int) -> tuple[int, ...]:
    """The positions that an option names: one, several, or "all".

    Raises:
        ValueError: It is none of these.
    """
    if isinstance(position, str) and position == "all":
        return tuple(range(n_pos))
    is_one = isinstance(position, str) or not isinstance(position, Sequence)
    listed: tuple[Any, ...] = (position,) if is_one else tuple(position)
    if not listed or not all(isinstance(each, Integral) for each in listed):
        raise ValueError(f"position = {position!r}: give a number, a list of numbers, or 'all'")
    return tuple(index(each) for each in listed)


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
    has_stream = any("resid" in name for name in known)
    wanted = DEFAULT_SITES if has_stream else OTHER_SITES
    found = [name for name in known if wanted.fullmatch(name)]
    if not found:
        raise ValueError(f"sites: name some of this model's hook points: {', '.join(known)}")
    return found


def activations(
    snapshot: Snapshot, sites: Sequence[str], index: Int[Tensor, "batch position"]
) -> dict[str, Float[Tensor, "batch position feature"]]:
    """Activations at some positions by site, further axes flattened; the rest is never kept.

    A site with a single position, as the neurons of an MLP are, is read there whichever is asked.

    Raises:
        ValueError: A site does not exist, does not fire, has no axis of positions, or its
            activations are not finite.
    """
    n_pos = snapshot.examples.visible.shape[1]

    def pick(activation: Tensor, batch: slice) -> dict[str, Tensor]:
        if activation.ndim < 3 or activation.shape[1] not in (1, n_pos):
            shape = list(activation.shape[1:])
            raise ValueError(
                f"sites: a probe reads [position, ...] of {n_pos} positions, one of {list(sites)} "
                f"gives {shape} an example"
            )
        wanted = index[batch].clamp(0, activation.shape[1] - 1).to(activation.device)
        rows = torch.arange(len(wanted), device=activation.device)[:, None]
        return {"picked": activation.flatten(2)[rows, wanted].cpu()}

    streamed = stream(
        snapshot, dict.fromkeys(sites, pick), combine=lambda parts: torch.cat([*parts])
    )
    found = {site: statistics["picked"] for site, statistics in streamed.items()}
    for site, features in found.items():
        if not features.isfinite().all():
            raise ValueError(
                f"activations at {site} hold NaN or infinity{at_step(snapshot.step)}: the model "
                "has diverged; probe an earlier step"
            )
    return found


def raw_input(examples: Examples) -> Float[Tensor, "batch feature"]:
    """The input of all positions as one vector: tokens one-hot, or real inputs; 0 at padding."""
    visible = examples.visible.cpu()[..., None]
    if examples.tokens is None:
        flat = (examples.model_inputs.cpu() * visible).flatten(1).double()
    else:
        tokens = examples.tokens.cpu()
        flat = (torch.nn.functional.one_hot(tokens) * visible).flatten(1).double()
    return flat[:, flat.amin(0) < flat.amax(0)]
