"""Which tensors can be a model's parameters, for whoever reads other people's states."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

PREFIXES = {"_orig_mod.": "torch.compile's wrapper", "module.": "a DataParallel's wrapper"}
DTYPES = (torch.float32, torch.float64)


def check_prefixes(names: Iterable[str]) -> None:
    """Refuses the names that a wrapper gives its model's parameters.

    Raises:
        ValueError: A name begins with a wrapper's prefix.
    """
    for name in names:
        for prefix, wrapper in PREFIXES.items():
            if name.startswith(prefix):
                raise ValueError(
                    f"parameter {name} has the name that {wrapper} gives it: take the prefix "
                    f"'{prefix}' off all names, or the state_dict() of the model inside"
                )


def check_tensor(name: str, value: Any) -> None:
    """Refuses what holds no floating-point numbers that could be read as they are.

    Raises:
        TypeError: It is no tensor.
        ValueError: It is sparse, nested, without data, or of another type than float32, float64.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"parameter {name} is a {type(value).__name__}: give tensors")
    if value.is_nested or value.layout != torch.strided:
        kind = "nested" if value.is_nested else "sparse"
        raise ValueError(f"parameter {name} is {kind}: give it dense, value.to_dense()")
    if value.is_meta:
        raise ValueError(f"parameter {name} is on the meta device and holds no numbers: load them")
    if value.dtype not in DTYPES:
        raise ValueError(
            f"parameter {name} holds {value.dtype}: give float32 (`value.float()` holds half "
            "precision exactly) or float64"
        )


def check_state(parameters: Mapping[str, Any]) -> None:
    """Refuses a state of which a model could not be made.

    Raises:
        TypeError: It holds something that is no tensor.
        ValueError: It is empty, its names are a wrapper's, or a tensor cannot be read.
    """
    if not parameters:
        raise ValueError("it holds no parameters")
    check_prefixes(parameters)
    for name, value in parameters.items():
        check_tensor(name, value)
