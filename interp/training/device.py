"""Where a model is trained, how tensors get there, and how precisely products are taken."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

import torch
from torch import Tensor

from interp.config import Training
from interp.tasks import Batch

Device = Literal["auto", "cpu", "cuda"]


def pick_device(device: Device | torch.device) -> torch.device:
    """The device to run on; auto takes CUDA where there is one, a torch.device stays as it is.

    Raises:
        ValueError: cuda was asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda: torch sees no GPU here; use --device cpu or auto")
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def prepare_process(threads: int = 1) -> None:
    """Sets the number of threads, and makes this process keep the memory that it frees.

    glibc otherwise gives large blocks back to the system after every step, and the system fills
    their pages with zeros again, which takes half of the time of a stack of small networks.
    """
    torch.set_num_threads(threads)
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        for option in (-3, -1):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
            library.mallopt(option, 2**30)


def sent(values: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device, without waiting for what the device has yet to do."""
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def sent_batch(batch: Batch, device: torch.device) -> Batch:
    """A batch or table on a device; one that is there already stays the same object."""
    if all(values.device.type == device.type for values in batch.values()):
        return batch
    return {name: sent(values, device) for name, values in batch.items()}


@contextmanager
def as_configured(training: Training, device: torch.device) -> Iterator[None]:
    """A context in which float32 products have the precision that a training asks for.

    Torch's random state is put back afterwards, since dropout reseeds it at every update. A GPU
    that is not trained on is left alone.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(training.matmul)
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
