"""Where a model is trained, and how precisely products are taken there."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

import torch

from interp.training import Training

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


@contextmanager
def as_configured(training: Training) -> Iterator[None]:
    """Torch's precision of float32 products as the training has it, for a while.

    Its random state is left as it was before: dropout reseeds it at every update.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(training.matmul)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_float32_matmul_precision(before)
