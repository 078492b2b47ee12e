"""From which layer on is attention cut: one layer, or each in turn."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError


def layer_or_all(threshold: Any) -> Any:
    """The same threshold.

    Raises:
        ValueError: It is neither the number of a layer nor "all".
    """
    if threshold != "all" and (type(threshold) is not int or threshold < 0):
        raise PydanticCustomError(
            "threshold",
            "take a layer (0 or more) or 'all' as threshold, not {came}",
            {"came": repr(threshold)},
        )
    return threshold


Threshold = Annotated[int | Literal["all"], BeforeValidator(layer_or_all)]


def layers_of(threshold: Threshold, n_layers: int) -> tuple[int, ...]:
    """The layers that a threshold names, in a model of some number of layers.

    Raises:
        ValueError: It is neither the number of a layer nor "all".
    """
    layer_or_all(threshold)
    return tuple(range(n_layers)) if threshold == "all" else (threshold,)
