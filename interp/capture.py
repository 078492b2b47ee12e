"""A step on a GPU as a CUDA graph: launched whole, without Python between its kernels."""

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARM_UPS = 3  # libraries choose their kernels and workspaces in the first calls


def captured(step: Callable[[], None], changed: Sequence[Tensor]) -> Callable[[], object] | None:
    """The step as a CUDA graph, or None, with a warning, where it cannot be captured.

    Args:
        step: Reads and writes tensors of fixed addresses and never waits for the device.
        changed: All that it changes in place; left as it was.

    Returns:
        A function that replays the step.
    """
    before = [tensor.detach().clone() for tensor in changed]
    try:
        graph = _capture(step)
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        warnings.warn(f"steps run one kernel at a time: not captured ({reason})", stacklevel=2)
        graph = None
    with torch.no_grad():
        for tensor, value in zip(changed, before, strict=True):
            tensor.copy_(value)
    return None if graph is None else graph.replay


def _capture(step: Callable[[], None]) -> torch.cuda.CUDAGraph:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    # Other threads may copy checkpoints off the device meanwhile.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        step()
    return graph
