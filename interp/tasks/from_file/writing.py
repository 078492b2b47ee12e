"""Examples as a file that the task `examples` reads back."""

import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from hooks import Examples
from interp.tasks.from_file.sources import LABEL
from interp.tasks.from_file.table import ALL


def joined(splits: Mapping[str, Any]) -> tuple[Examples, list[str]]:
    """The examples of several splits one after the other, and the split of each.

    Where splits have different numbers of positions, the shorter ones are padded at the end, and
    `lengths` says so.

    Raises:
        ValueError: There is no split, one is called `all`, or two differ in what they hold: tokens
            or inputs, labels, trees, words or facts.
        TypeError: A split holds something other than Examples.
    """
    for name, examples in splits.items():
        if not isinstance(examples, Examples):
            raise TypeError(f"examples: '{name}' is a {type(examples).__name__}: give Examples")
        if name == ALL:
            raise ValueError(f"examples: '{ALL}' means all splits together: rename this one")
    if not splits:
        raise ValueError("examples: there is no split; give Examples, or some of them by name")
    (first_name, first), *others = splits.items()
    for name, examples in others:
        for what, value in _kinds(first).items():
            if _kinds(examples)[what] != value:
                raise ValueError(
                    f"examples: {what} of '{first_name}' and '{name}' differ: a run has one kind "
                    "of examples; give both the same"
                )
    n_pos = max(examples.model_inputs.shape[1] for examples in splits.values())
    parts = [_widened(examples, n_pos) for examples in splits.values()]
    names = [name for name, part in splits.items() for _ in range(len(part))]
    return _after_each_other(parts), names


def _kinds(examples: Examples) -> dict[str, object]:
    """What must be the same in all splits, in words."""
    facts = examples.facts
    return {
        "tokens or inputs": examples.tokens is None,
        "kinds of targets": examples.targets.is_floating_point(),
        "labels": sorted(examples.labels),
        "trees": examples.trees is None,
        "words": examples.words is None,
        "facts": (replace(facts, chance=0.0), str(facts.chance)),  # NaN is not itself
    }


def _widened(examples: Examples, n_pos: int) -> Examples:
    """Examples with more positions, padded at the end."""
    given = examples.model_inputs.shape[1]
    if n_pos == given:
        return examples
    before, after = given - examples.targets.shape[1], n_pos - given
    fed = examples.model_inputs
    fed = pad(fed, (0, after) if fed.ndim == 2 else (0, 0, 0, after))
    lengths = examples.lengths
    return replace(
        examples,
        tokens=None if examples.tokens is None else fed,
        inputs=None if examples.inputs is None else fed,
        targets=pad(examples.targets, (before, after)),
        scored=pad(examples.scored, (before, after)),
        lengths=torch.full((len(examples),), given) if lengths is None else lengths,
        labels={
            name: pad(value, (0, after)) if value.ndim == 2 else value
            for name, value in examples.labels.items()
        },
    )


def _after_each_other(parts: Sequence[Examples]) -> Examples:
    first = parts[0]
    n_pos, width = first.model_inputs.shape[1], max(part.targets.shape[1] for part in parts)
    is_padded = any(part.lengths is not None for part in parts)
    lengths = [
        torch.full((len(part),), n_pos) if part.lengths is None else part.lengths for part in parts
    ]
    return replace(
        first,
        tokens=None if first.tokens is None else _cat(part.model_inputs for part in parts),
        inputs=None if first.inputs is None else _cat(part.model_inputs for part in parts),
        targets=_cat(pad(part.targets, (width - part.targets.shape[1], 0)) for part in parts),
        scored=_cat(pad(part.scored, (width - part.scored.shape[1], 0)) for part in parts),
        lengths=_cat(lengths) if is_padded else None,
        labels={name: _cat(part.labels[name] for part in parts) for name in first.labels},
        trees=None
        if first.trees is None
        else tuple(tree for part in parts for tree in part.trees or ()),
        words=None
        if first.words is None
        else tuple(row for part in parts for row in part.words or ()),
    )


def _cat(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().cpu() for tensor in tensors])


def npz_bytes(examples: Examples, splits: Sequence[str] | None) -> bytes:
    """Examples, without their facts, as an npz file; the same examples give the same bytes.

    Args:
        examples: The examples.
        splits: The split of each of them, or None.

    Raises:
        ValueError: A tensor is of a type that NumPy does not have.
    """
    tensors = {
        name: value
        for name in ("tokens", "inputs", "targets", "scored", "lengths")
        if (value := getattr(examples, name)) is not None
    } | {f"{LABEL}{name}": value for name, value in examples.labels.items()}
    arrays = {name: _array(name, value) for name, value in tensors.items()}
    texts = {"tree": examples.trees, "words": examples.words}
    arrays |= {
        name: np.array([json.dumps(row) for row in rows])
        for name, rows in texts.items()
        if rows is not None
    }
    if splits is not None:
        arrays["split"] = np.array(splits)
    buffer = io.BytesIO()
    # By hand, since np.savez takes no array called `file`; a ZipInfo has no time of today.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, array in arrays.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def _array(name: str, value: Tensor) -> np.ndarray:
    try:
        return value.detach().cpu().numpy()
    except TypeError:
        raise ValueError(f"examples: {name} holds {value.dtype}: give another type") from None
