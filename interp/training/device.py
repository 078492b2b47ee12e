"""Where a model is trained, and how precisely products are taken there."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

import torch
from torch import Tensor

from interp.config.training import Training

Device = Literal["auto", "cpu", "cuda"]


def pick_device(device: Device) -> torch.device:
    """The device to run on; auto takes CUDA where there is one.

    Raises:
        ValueError: cuda was asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda: torch sees no GPU here; use --device cpu or auto")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def prepare_process(threads: int = 1) -> None:
    """Makes this process one that trains: so many threads, and memory that it keeps.

    glibc otherwise gives large blocks back to the system after every step, and the system fills
    their pages with zeros again: half of the time of a stack of small networks.
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


@contextmanager
def as_configured(training: Training, device: torch.device) -> Iterator[None]:
    """Torch's precision of float32 products as the training has it, for a while.

    Its random state is left as it was before: dropout reseeds it at every update. A GPU that is
    not trained on is left alone.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(training.matmul)
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
