"""Ratios against plain code: one process, one thread, the same work on both sides.

A benchmark is a module with `compare()`: it asserts that both sides agree, then times them.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Comparison:
    """Median processor seconds of plain code and of ours for the same work."""

    name: str
    plain: float
    ours: float
    goal: float | None

    @property
    def ratio(self) -> float:
        return self.plain / self.ours


def interleaved(
    plain: Callable[[], object], ours: Callable[[], object], repeats: int
) -> tuple[float, float]:
    """Median processor seconds of both, called in turn after one unmeasured call each."""
    plain()
    ours()
    pairs = [(_seconds(plain), _seconds(ours)) for _ in range(repeats)]
    of_plain, of_ours = zip(*pairs, strict=True)
    return statistics.median(of_plain), statistics.median(of_ours)


def _seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def written_out(model: Any) -> Any:
    """The model with a function on each hook point that fusing would pass over.

    It then lays out every intermediate, as TransformerLens does.
    """
    inside = ("hook_q", "hook_k", "hook_v", "hook_attn_scores", "hook_pattern", "hook_scale")
    model.add_hook(lambda name: name.endswith(inside), lambda activation, hook: None)
    return model
