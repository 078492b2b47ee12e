"""Activations of one run put into another, or replaced by means.

    clean, corrupted = Snapshot.of(model, x), Snapshot.of(model, c)
    corrupted.edited(patched(clean, "blocks.0.attn.hook_z", heads=[2])).logits()    # denoising
    clean.edited(replaced_by({"blocks.0.hook_mlp_out": mean})).logits()             # mean ablation

Example i of the edited snapshot takes its activations from example i of the source. The source may
be edited itself, which gives path patching, or it may be of another step of the same run. If two
edits change one hook point, the later one replaces what the earlier one gave.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from hooks.edit import Edit
from hooks.snapshot import Snapshot

PATTERNS = ("hook_attn_scores", "hook_pattern")  # [batch, head, query, key]
HEADS = ("hook_q", "hook_k", "hook_v", "hook_z", "hook_rot_q", "hook_rot_k", "hook_result")
NEURONS = ("hook_pre", "hook_pre_linear", "hook_mid", "hook_post")
NOWHERE = -1  # fills the rows of a table of positions that have fewer positions than others

Positions = int | Sequence[int] | Int[Tensor, "..."] | Bool[Tensor, "batch pos"]


def patched(
    source: Snapshot,
    names: str | Sequence[str],
    *,
    heads: Collection[int] | None = None,
    neurons: Collection[int] | None = None,
    positions: Positions | None = None,
    source_positions: Positions | None = None,
) -> Edit:
    """An edit that puts the activations of a source in place of a snapshot's, example by example.

    The source is run now. The edit holds copies of its activations, beside the activations that
    `source.cache(names)` remembers.

    Args:
        source: What activations are taken from; its memory limit counts.
        names: Hook points.
        heads: Replaces these heads only, at hook points of heads; all heads if left out.
        neurons: Replaces these neurons only, at hook points of an MLP's neurons.
        positions: Replaces these positions only, but not at attention patterns. They are whole
            numbers that hold for all examples; or a tensor with one position for each example,
            `[batch]`, or with several, `[batch, k]`; or a mask, `[batch, pos]`, which is True where
            an activation is replaced.
        source_positions: Positions of the source from which activations are taken, as many for each
            example as `positions` and in the same order; `positions` if left out.

    Raises:
        ValueError: A hook point is unknown or has no heads, neurons or positions; an index is out
            of range; positions are of other rows, or not as many as in the source. When the model
            runs: the activation has another shape than the source's, or it is not known to which
            examples it belongs. When a snapshot is edited: it has another number of examples.
    """
    names = [names] if isinstance(names, str) else list(names)
    activations = {name: value.detach().clone() for name, value in source.cache(names).items()}
    part = {name: _part(name, heads, neurons) for name in names}
    if positions is None and source_positions is not None:
        raise ValueError("source_positions without positions: say where they are put")
    tables: dict[str, tuple[Tensor, Tensor] | None] = dict.fromkeys(names)
    for name, value in activations.items():
        _check_indices(name, value, part[name])
        if positions is not None:
            if name.endswith(PATTERNS):
                raise ValueError(f"positions: {name} is of pairs of positions; leave them out")
            taken_from = positions if source_positions is None else source_positions
            tables[name] = _both_tables(positions, taken_from, value)

    def insert(activation: Tensor, hook: Any, rows: Tensor) -> Tensor:
        given = activations[hook.name][rows.cpu()].to(activation)
        if given.shape != activation.shape:
            raise ValueError(
                f"{hook.name} is {list(activation.shape)}, in the source {list(given.shape)}: take "
                "a source of the same shapes"
            )
        return _within(
            activation, _moved(activation, given, tables[hook.name], rows), *part[hook.name]
        )

    return Edit(row_hooks=dict.fromkeys(names, insert), n_examples=len(source.examples))


def replaced_by(
    means: Mapping[str, Tensor],
    *,
    heads: Collection[int] | None = None,
    neurons: Collection[int] | None = None,
) -> Edit:
    """An edit that puts the same activations in place of every example's: mean ablation.

    Args:
        means: By hook name, activations in the shape of one example, `[pos, ...]`, or without that
            axis, to be the same at every position (not at attention patterns).
        heads: Replaces these heads only; all if left out.
        neurons: Replaces these neurons only.

    Raises:
        ValueError: A hook point has no heads or neurons, or a mean holds NaN. When the model runs:
            a mean does not fit the activation, or an index is out of range.
    """
    part = {name: _part(name, heads, neurons) for name in means}
    for name, mean in means.items():
        if mean.isnan().any():
            raise ValueError(f"means: {name} holds NaN")

    def replace(activation: Tensor, hook: Any) -> Tensor:
        mean = means[hook.name]
        shapes = [activation.shape[1:]]
        if not hook.name.endswith(PATTERNS):
            shapes.append(activation.shape[2:])
        if mean.shape not in shapes:
            raise ValueError(
                f"means: {hook.name} is {list(mean.shape)}, wanted is "
                f"{' or '.join(str(list(shape)) for shape in shapes)}"
            )
        _check_indices(hook.name, activation, part[hook.name])
        return _within(activation, mean.to(activation).expand_as(activation), *part[hook.name])

    return Edit(hooks=dict.fromkeys(means, replace))


def _part(
    name: str, heads: Collection[int] | None, neurons: Collection[int] | None
) -> tuple[int, list[int] | None]:
    """The axis on which heads or neurons lie, and which of them are replaced; None for all."""
    point = name.rsplit(".", 1)[-1]
    if heads is not None and point not in HEADS + PATTERNS:
        raise ValueError(f"heads: {name} has none; take {', '.join(HEADS + PATTERNS)}")
    if neurons is not None and not (point in NEURONS and ".mlp." in name):
        raise ValueError(f"neurons: {name} has none; take an MLP's {', '.join(NEURONS)}")
    chosen = neurons if heads is None else heads
    return (1 if point in PATTERNS else 2), None if chosen is None else sorted(set(chosen))


def _check_indices(name: str, activation: Tensor, part: tuple[int, list[int] | None]) -> None:
    axis, indices = part
    if indices and not 0 <= indices[0] <= indices[-1] < activation.shape[axis]:
        raise ValueError(f"{name}: indices {indices} are not all below {activation.shape[axis]}")


def _within(activation: Tensor, replaced: Tensor, axis: int, indices: list[int] | None) -> Tensor:
    """The activation after an edit: replaced as a whole, or at some heads or neurons only."""
    if indices is None:
        return replaced.clone()
    chosen = torch.tensor(indices, dtype=torch.long, device=activation.device)
    return activation.index_copy(axis, chosen, replaced.index_select(axis, chosen))


def _moved(
    activation: Tensor, given: Tensor, tables: tuple[Tensor, Tensor] | None, rows: Tensor
) -> Tensor:
    """An activation that has the source's values at some positions of each row."""
    if tables is None:
        return given
    target, source = (table[rows.to(table.device)].to(activation.device) for table in tables)
    row, place = (target != NOWHERE).nonzero().unbind(1)
    return activation.index_put((row, target[row, place]), given[row, source[row, place]])


def _both_tables(
    positions: Positions, source_positions: Positions, value: Tensor
) -> tuple[Tensor, Tensor]:
    """The positions that get new activations, and the positions of the source that give them."""
    target = _table("positions", positions, value)
    source = _table("source_positions", source_positions, value)
    if target.shape != source.shape or not torch.equal(target == NOWHERE, source == NOWHERE):
        raise ValueError("source_positions: give as many as positions, in every row")
    return target, source


def _table(name: str, positions: Positions, value: Tensor) -> Int[Tensor, "batch k"]:
    """Positions of each row, filled up with `NOWHERE`."""
    count, n_pos = value.shape[:2]
    if not isinstance(positions, Tensor):
        in_every_row = [positions] if isinstance(positions, int) else list(positions)
        positions = torch.tensor(in_every_row, dtype=torch.long).expand(count, -1)
    if positions.ndim == 0:
        positions = positions.expand(count)
    if positions.ndim == 1:
        positions = positions[:, None]
    if positions.ndim != 2 or len(positions) != count:
        raise ValueError(f"{name} is {list(positions.shape)}: give one row for {count} examples")
    if positions.dtype == torch.bool:
        return _of_mask(name, positions, n_pos)
    if positions.is_floating_point() or bool(((positions < 0) | (positions >= n_pos)).any()):
        raise ValueError(f"{name}: give whole numbers from 0 to {n_pos - 1}")
    if bool((positions.sort(1).values.diff(dim=1) == 0).any()) and name == "positions":
        raise ValueError(f"{name}: a row names a position twice")
    return positions.long()


def _of_mask(name: str, mask: Tensor, n_pos: int) -> Int[Tensor, "batch k"]:
    if mask.shape[1] != n_pos:
        raise ValueError(f"{name} has {mask.shape[1]} positions, the activation {n_pos}")
    places = torch.arange(n_pos, device=mask.device).expand_as(mask)
    # The positions at which a row's mask is True come first, in their order.
    order = mask.long().argsort(dim=1, descending=True, stable=True)
    return places.where(mask, NOWHERE).gather(1, order)[:, : int(mask.sum(1).max())]
