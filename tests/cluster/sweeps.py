"""Sweeps for clusters, what is compared of them, and a head that can be left alone."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from interp.presets import preset_names
from interp.sweeps.definition import Sweep, load_sweep
from interp.sweeps.progress import last_step
from tests.planted import tiny_parity

PATIENCE = 90  # seconds: a busy machine trains slowly


def long_sweep() -> Sweep:
    """Ten models, one after the other some seconds of work, with several checkpoints."""
    base = tiny_parity(steps=1000, evaluate={"every": 100}, checkpoints={"every": 200})
    return Sweep.model_validate({"name": "long", "base": base, "seeds": 10})


def short_sweep(**options: Any) -> Sweep:
    """Models that train for a moment."""
    return Sweep.model_validate({"name": "short", "base": tiny_parity(), "seeds": 4} | options)


def mini_sweep() -> Sweep:
    """The 135 networks of a preset, small and with few updates."""
    assert "parity-decay-mini" in preset_names("sweeps")
    sweep = load_sweep("parity-decay-mini")
    small = {"training.steps": [4], "model.d_mlp": [4, 6, 8], "task.train_sequences": [50, 60, 70]}
    return Sweep.model_validate(sweep.model_dump() | {"vary": sweep.vary | small})


def files_of(folder: Path) -> dict[str, bytes]:
    """The files of a sweep's runs, by their place in it."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.glob("*/**/*")
        if file.is_file() and file.relative_to(folder).parts[0] != "jobs" and file.name[0] != "."
    }


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Waits until something holds."""
    end = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"in {PATIENCE} s, {what} did not come")
        time.sleep(0.05)


def wait_for_work(run: Path) -> None:
    """Waits until a run has trained for a while."""
    wait_until(lambda: (last_step(run / "metrics.jsonl") or 0) > 0, f"a row of {run.name}")


class Head(threading.Thread):
    """Calls something in a thread, as a command would; `ended` gives what it returned or raised."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._call = call
        self._value: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Calls it (`Thread.run`)."""
        try:
            self._value = self._call()
        except BaseException as error:
            self._error = error

    def ended(self) -> Any:
        """Waits for the end."""
        self.join(PATIENCE)
        assert not self.is_alive()
        if self._error is not None:
            raise self._error
        return self._value
