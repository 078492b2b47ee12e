"""Parameters on disk: safetensors, with a checksum of every tensor.

The checksums stand in the file's own metadata: nothing beside it can be lost or be written a moment
too late, and each tensor is checked when it is read, so that reading one of them reads no other.
CRC-32 finds every damage within four neighbouring bytes, and misses one in 2^32 of the others; it
guards against disks, not against malice. In a file without checksums, written by hand or by an
older version, only damage to the structure is found. Parameters are float32 or float64.
"""

import json
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

METADATA_ENTRY = "interp"
STORED_TYPES = ("F32", "F64")
# What reading raises depends on what the damage has made of the header's JSON.
DAMAGE_ERRORS = (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError)
REMEDY = "move it away and go on without that step, or train the experiment again in a new folder"


def pack(parameters: Mapping[str, Tensor], **facts: Any) -> bytes:
    """The bytes of a checkpoint: tensors on the CPU, their checksums, and some facts.

    The same tensors and facts give the same bytes.
    """
    checksums = {name: checksum(value.numpy()) for name, value in parameters.items()}
    entry = json.dumps({"checksums": checksums} | facts, sort_keys=True)
    # One entry of metadata at most: safetensors writes several in random order, and other bytes
    # would be another checkpoint to whoever compares hashes.
    return save(dict(parameters), metadata={METADATA_ENTRY: entry})


def checksum(values: np.ndarray) -> int:
    """CRC-32 of an array's type, shape and bytes."""
    return zlib.crc32(values.data, zlib.crc32(f"{values.dtype.str} {values.shape}".encode()))


class Checkpoint(Mapping[str, Tensor]):
    """A file of parameters by name; each parameter is read, and checked, when it is asked for.

    `dict(checkpoint)` reads all of them. What copies or pickles a checkpoint (`torch.save`) gets
    that dictionary too, since an open file can be neither copied nor pickled.

    Args:
        path: The file.
        remedy: What to do where the file is damaged.
        step: The step that the file must be of, if it says its step; older files do not.

    Attributes:
        facts: What was stored beside the tensors.
        checksums: CRC-32 of each tensor, by name; None in a file without them.

    Raises:
        ValueError: The file is damaged: here in its structure, on reading in a tensor's bytes. Or
            it is of another step, or, on reading, a tensor is of another type.
    """

    def __init__(self, path: Path, remedy: str = REMEDY, step: int | None = None) -> None:
        self.path = path
        self.remedy = remedy
        with self._reading():
            self._file = safe_open(path, framework="np")  # half the time of framework="pt"
            entry = (self._file.metadata() or {}).get(METADATA_ENTRY)
            self.facts: dict[str, Any] = {} if entry is None else json.loads(entry)
            self.checksums: dict[str, int] | None = (
                None if entry is None else self.facts.pop("checksums")
            )
            # A name that damage has changed is still among the checksums, and missed on reading.
            self._names = tuple(sorted(self.checksums or self._file.keys()))
        if step is not None and self.facts.get("step", step) != step:
            raise ValueError(
                f"{path} holds the parameters of step {self.facts['step']}, and its name says "
                f"{step}: name each checkpoint after its own step"
            )

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        with self._reading():
            stored = self._file.get_slice(name).get_dtype()
        # Where there are checksums, another type than was written is damage.
        if stored not in STORED_TYPES and self.checksums is None:
            raise ValueError(
                f"{self.path}: {name} is stored as {stored}, checkpoints of a run as F32 or F64; "
                "`interp import` makes a run folder of other types"
            )
        with self._reading():
            values = self._file.get_tensor(name)
            if self.checksums is not None and checksum(values) != self.checksums[name]:
                raise ValueError(f"{name} is not as it was written")
        return torch.from_numpy(values)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __reduce__(self) -> tuple[Any, ...]:
        # An OrderedDict is what a state_dict is: torch.load takes it with weights_only.
        return OrderedDict, (), None, None, iter(list(self.items()))

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except DAMAGE_ERRORS as error:
            raise ValueError(f"{self.path} is damaged ({error}); {self.remedy}") from None
