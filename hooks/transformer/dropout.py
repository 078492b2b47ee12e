"""Dropout whose random numbers cost a CPU less than torch's."""

import torch
from torch import Tensor, nn

LEVELS = 2**16  # a random 64-bit number decides of four activations


class Dropout(nn.Dropout):
    """Sets activations to 0 with a probability while training, and scales up the others.

    The probability is rounded to 1 / 65,536, and the scale belongs to the rounded one, so that the
    mean stays exactly what it was. Off the CPU this is torch's own dropout.
    """

    def forward(self, input: Tensor) -> Tensor:
        """The activations that are left."""
        if not self.training or input.device.type != "cpu":
            return super().forward(input)
        dropped = min(round(self.p * LEVELS), LEVELS - 1)
        words = torch.randint(-(2**63), 2**63 - 1, ((input.numel() + 3) // 4,))
        levels = words.view(torch.int16)[: input.numel()].view(input.shape)
        kept = (levels >= dropped - LEVELS // 2).to(input.dtype)
        return input * kept.mul_(LEVELS / (LEVELS - dropped))


def dropping(probability: float) -> nn.Module:
    """Dropout, or nothing at all: vmap would take a dropout of 0 for randomness."""
    return Dropout(probability) if probability else nn.Identity()
