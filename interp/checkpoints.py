"""Parameters on disk: safetensors, with a checksum of every tensor.

The checksums stand in the file's own metadata: nothing beside it can be lost or be written a moment
too late, and each tensor is checked when it is read, so that reading one of them reads no other.
CRC-32 finds every damage within four neighbouring bytes, and misses one in 2^32 of the others; it
guards against disks, not against malice. In a file without checksums, written by hand or by an
older version, only damage to the structure is found. Parameters are float32 or float64.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

ENTRY = "interp"
TYPES = ("F32", "F64")
REMEDY = "move it away and go on without that step, or train the experiment again in a new folder"


def pack(parameters: Mapping[str, Tensor], **facts: Any) -> bytes:
    """The bytes of a file that holds tensors on the CPU, their checksums, and some facts.

    The same tensors and facts give the same bytes.
    """
    checksums = {name: checksum(value.numpy()) for name, value in parameters.items()}
    entry = json.dumps({"checksums": checksums} | facts, sort_keys=True)
    # One entry of metadata at most: safetensors writes several in random order, and other bytes
    # would be another checkpoint to whoever compares hashes.
    return save(dict(parameters), metadata={ENTRY: entry})


def checksum(values: np.ndarray) -> int:
    """CRC-32 of an array's type, shape and bytes."""
    return zlib.crc32(values.data, zlib.crc32(f"{values.dtype.str} {values.shape}".encode()))


class Checkpoint(Mapping[str, Tensor]):
    """A file of parameters by name; each is read, and checked, when asked for.

    Attributes:
        path: The file.
        remedy: What to do where it is damaged.
        facts: What was stored beside the tensors.

    Raises:
        ValueError: The file is damaged: here in its structure, on reading in a tensor's bytes. Or,
            on reading, a tensor is of another type.
    """

    def __init__(self, path: Path, remedy: str = REMEDY) -> None:
        self.path = path
        self.remedy = remedy
        with self._reading():
            self._file = safe_open(path, framework="np")  # half the time of framework="pt"
            entry = (self._file.metadata() or {}).get(ENTRY)
            self.facts: dict[str, Any] = {} if entry is None else json.loads(entry)
            self._checksums = None if entry is None else self.facts.pop("checksums")
            # A name that damage has changed is still among the checksums, and missed on reading.
            self._names = tuple(sorted(self._checksums or self._file.keys()))

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        with self._reading():
            stored = self._file.get_slice(name).get_dtype()
        # Where there are checksums, another type than was written is damage.
        if stored not in TYPES and self._checksums is None:
            raise ValueError(
                f"{self.path}: {name} is stored as {stored}, checkpoints of a run as F32 or F64; "
                "`interp import` makes a run folder of other types"
            )
        with self._reading():
            values = self._file.get_tensor(name)
            if self._checksums is not None and checksum(values) != self._checksums[name]:
                raise ValueError(f"{name} is not as it was written")
        return torch.from_numpy(values)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        # A damaged header raises whatever the JSON in it has become.
        try:
            yield
        except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{self.path} is damaged ({error}); {self.remedy}") from None
