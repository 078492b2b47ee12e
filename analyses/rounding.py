"""Which powers are rounding alone?

Sums of float32 numbers are wrong by a few units in the last place of their largest terms. What
varies by no more than that, beside the largest of its kind, has no frequency, share or group:
the largest of several roundings would be noise that looks like an answer.

A power is a squared size, so that its floor is the square of the size's.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# Share of the largest size below which a size is rounding: 32 units in the last place of float32,
# the coarsest dtype that models are trained in.
SIZE_FLOOR = 32 * torch.finfo(torch.float32).eps
POWER_FLOOR = SIZE_FLOOR**2


def is_rounding(
    varying: Float[Tensor, "*series"], whole: Float[Tensor, "*series"]
) -> Bool[Tensor, "*series"]:
    """Which powers are 0, or rounding beside the largest of all; NaN is not.

    Args:
        varying: The powers in question, such as those of what varies over residues.
        whole: Powers with what they are a part of, such as the constant; the largest counts.
    """
    return varying <= POWER_FLOOR * whole.max()
