"""What a terminal shows while something runs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def training_bar() -> Iterator[Callable[[dict[str, float], int], None]]:
    """A bar over steps that shows each row of metrics."""
    with Progress(*_columns()) as progress:
        bar = progress.add_task("", start=False, visible=False)

        def on_evaluate(row: dict[str, float], end: int) -> None:
            progress.start_task(bar)
            step, shown = row["step"], _metrics_line(row)
            progress.update(bar, completed=step, total=end, description=shown, visible=True)

        yield on_evaluate


def _metrics_line(row: dict[str, float]) -> str:
    """Metrics in few characters, each with its splits in order: `loss 0.01/7.5  acc 1.00/0.34`."""
    values: dict[str, list[str]] = {}
    for name, value in row.items():
        if name != "step":
            shown = f"{value:.2f}" if "accuracy" in name else f"{value:.2g}"
            values.setdefault(name.partition(".")[2].replace("accuracy", "acc"), []).append(shown)
    return "  ".join(f"{metric} {'/'.join(shown)}" for metric, shown in values.items())


@contextmanager
def sweep_bar() -> Iterator[Callable[[int, int, int], None]]:
    """A bar over members: how many are done, and updates a second of all together."""
    with Progress(*_columns()) as progress:
        bar = progress.add_task("", start=False, visible=False)
        seen: list[tuple[float, int, int]] = []

        def on_progress(done: int, members: int, steps: int) -> None:
            seen.append((time.monotonic(), steps, members - done))
            del seen[:-20]  # the rate of the latest looks
            (then, before, unfinished), (now, after, _) = seen[0], seen[-1]
            rate = (after - before) / (now - then) if now > then else 0.0
            told = f"members  {rate / max(unfinished, 1):,.0f} steps/s each"
            told += f"  {rate:,.0f} model-steps/s"
            progress.start_task(bar)
            is_visible = members > 0  # of a sweep that is finished already there is none to show
            progress.update(
                bar, completed=done, total=members, description=told, visible=is_visible
            )

        yield on_progress


@contextmanager
def spinner(text: str) -> Iterator[Callable[..., None]]:
    """A spinner with a text that is filled in at every call."""
    with Console(stderr=True).status("") as status:
        yield lambda **facts: status.update(text.format(**facts))


def _columns() -> tuple[BarColumn, MofNCompleteColumn, TimeElapsedColumn, TextColumn]:
    text = TextColumn("{task.description}")
    return BarColumn(bar_width=16), MofNCompleteColumn(), TimeElapsedColumn(), text
