"""The tasks: one file each, and one line here."""

from interp.tasks.base import Batch, Task, model_inputs
from interp.tasks.bit_parity import BitParity
from interp.tasks.modular_arithmetic import ModularArithmetic

TASKS: dict[str, type[Task]] = {
    "modular_arithmetic": ModularArithmetic,
    "bit_parity": BitParity,
}

__all__ = ["TASKS", "Batch", "Task", "model_inputs"]
