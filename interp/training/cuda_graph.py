"""A step on a GPU as a CUDA graph: launched as a whole, without Python between its kernels.

A graph is recorded once for each shape of batch, at any moment of training. Libraries choose their
kernels in the first calls of a step, so it is called some times before it is recorded. Those calls
leave no trace: what a step changes is put back after every one of them, since a step that went on
from the one before would read batches beyond the last one that is on the device.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

WARM_UP_CALLS = 3  # calls of a step before it is recorded

Step = Callable[[], object]


@dataclass(frozen=True)
class Recorder:
    """How steps are recorded.

    Attributes:
        record: Makes a function that replays a step; it calls the step once.
        aside: A context for the warm-up calls of the step.
    """

    record: Callable[[Step], Step]
    aside: Callable[[], AbstractContextManager[object]] = nullcontext


def recorder_for(device: torch.device) -> Recorder | None:
    """Records CUDA graphs on a GPU; None on a CPU, where each step is run by itself.

    The graphs share one pool of memory. They may, since one replay follows another on a single
    stream, and since everything that outlives a replay was allocated before.
    """
    if device.type != "cuda":
        return None
    pool = torch.cuda.graph_pool_handle()

    def record(step: Step) -> Step:
        graph = torch.cuda.CUDAGraph()
        # Other threads may copy checkpoints off the device meanwhile.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            step()
        return graph.replay

    return Recorder(record, _side_stream)


@contextmanager
def _side_stream() -> Iterator[None]:
    """A separate stream, as capturing requires; it and the current stream wait for each other."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    try:
        with torch.cuda.stream(side):
            yield
    finally:
        torch.cuda.current_stream().wait_stream(side)


def captured(step: Step, changed: Sequence[Tensor], recorder: Recorder) -> Step | None:
    """The step, recorded; or None, with a warning, where it cannot be.

    Args:
        step: Reads and writes tensors of fixed addresses and never waits for the device.
        changed: All tensors that it changes; their values, and torch's random state, are put back.
        recorder: How it is recorded.

    Returns:
        A function that replays the step.

    Raises:
        OutOfMemoryError: The device has too little memory, for a step without a graph as well.
    """
    before = [tensor.detach().clone() for tensor in changed]

    def put_back() -> None:
        with torch.no_grad():
            for tensor, value in zip(changed, before, strict=True):
                tensor.copy_(value)

    devices = sorted({tensor.device.index or 0 for tensor in changed if tensor.is_cuda})
    with torch.random.fork_rng(devices):
        try:
            with recorder.aside():
                for _ in range(WARM_UP_CALLS):
                    step()
                    put_back()
            replay = recorder.record(step)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            warnings.warn(
                f"steps run one kernel at a time: not captured ({_cause(error)})", stacklevel=2
            )
            replay = None
    put_back()
    return replay


def _cause(error: BaseException) -> str:
    """The first line of the first error; ending a failed capture raises a second one."""
    while error.__context__:
        error = error.__context__
    return str(error).strip().partition("\n")[0]
