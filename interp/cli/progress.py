"""Progress bars and spinners in the terminal."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

RATE_CALLS = 20  # calls over which updates per second are averaged


@contextmanager
def training_bar() -> Iterator[Callable[[dict[str, float], int], None]]:
    """A bar over steps, which shows the latest row of metrics."""
    with _bar() as update:
        yield lambda row, end: update(
            completed=row["step"], total=end, description=_metrics_line(row), visible=True
        )


def _metrics_line(row: dict[str, float]) -> str:
    """Metrics in few characters, with the splits in order: `loss 0.01/7.5  acc 1.00/0.34`."""
    texts: dict[str, list[str]] = {}
    for name, value in row.items():
        if name != "step":
            text = f"{value:.2f}" if "accuracy" in name else f"{value:.2g}"
            texts.setdefault(name.partition(".")[2].replace("accuracy", "acc"), []).append(text)
    return "  ".join(f"{metric} {'/'.join(by_split)}" for metric, by_split in texts.items())


@contextmanager
def sweep_bar() -> Iterator[Callable[[int, int, int], None]]:
    """A bar over the models of a sweep: how many are done, and their updates per second."""
    calls: list[tuple[float, int, int]] = []  # time, steps of all models, models left
    with _bar() as update:

        def on_progress(done: int, models: int, steps: int) -> None:
            calls.append((time.monotonic(), steps, models - done))
            del calls[:-RATE_CALLS]
            (then, before, unfinished), (now, after, _) = calls[0], calls[-1]
            rate = (after - before) / (now - then) if now > then else 0.0
            update(
                completed=done,
                total=models,
                description=f"models  {rate / max(unfinished, 1):,.0f} steps/s each"
                f"  {rate:,.0f} model-steps/s",
                visible=models > 0,  # nothing is shown where all models are finished already
            )

        yield on_progress


@contextmanager
def spinner(text: str) -> Iterator[Callable[..., None]]:
    """A spinner with a text, whose blanks are filled in at every call."""
    with Console(stderr=True).status("") as status:
        yield lambda **facts: status.update(text.format(**facts))


@contextmanager
def _bar() -> Iterator[Callable[..., None]]:
    """A bar that appears with its first update; gives what updates it (`Progress.update`)."""
    with Progress(
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    ) as progress:
        bar = progress.add_task("", start=False, visible=False)

        def update(**facts: Any) -> None:
            progress.start_task(bar)
            progress.update(bar, **facts)

        yield update
