"""What a snapshot remembers, and whether it was written to since.

Tensors are handed out as they are, since copies would double what a cache takes. A notebook may
write into them (`logits -= logits.mean(-1, keepdim=True)`), or into the examples: what was so
changed is forgotten, and computed again when it is next asked for. A write is noticed by torch's
version of the tensor; one that goes round it (through NumPy) by the sum of the tensor's bits.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(eq=False)
class Memory:
    """Tensors by name, and what tells that they are still what was put in.

    Attributes:
        inputs: What the model was run on.
        tensors: By name, each tensor with its marks.
        is_tried: Whether the edits' hook points are known to fire.
    """

    inputs: Tensor
    tensors: dict[str, tuple[Tensor, tuple[int, ...]]] = field(default_factory=dict)
    is_tried: bool = False

    def __setitem__(self, name: str, tensor: Tensor) -> None:
        self.tensors[name] = (tensor, self._marks(tensor))

    def get(self, name: str) -> Tensor | None:
        """The tensor of a name, as it was put in; None where there is none or it was changed."""
        tensor, marks = self.tensors.get(name, (None, ()))
        if tensor is None or self._marks(tensor) == marks:
            return tensor
        del self.tensors[name]
        return None

    def _marks(self, tensor: Tensor) -> tuple[int, ...]:
        return (self.inputs._version, tensor._version, _sum_of_bits(tensor))


def _sum_of_bits(tensor: Tensor) -> int:
    if tensor.is_contiguous() and tensor.nbytes % 8 == 0:
        return int(tensor.flatten().view(torch.int64).sum())  # many times faster than narrow ones
    bits = tensor if tensor.dtype == torch.bool else tensor.view(BITS[tensor.itemsize])
    return int(bits.sum(dtype=torch.int64))
