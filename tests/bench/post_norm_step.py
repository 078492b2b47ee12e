"""An update of question-formation-small, fused, against the same with all written out."""

import torch

from interp.config.experiment import load_experiment
from interp.training.loop import LoneStepper
from interp.training.state import fresh
from tests.bench import Comparison, interleaved, written_out


def compare() -> Comparison:
    """Both sides in float32 with dropout, from the same first weights."""
    experiment = load_experiment("question-formation-small")
    steppers = [LoneStepper(experiment, fresh(experiment), torch.device("cpu")) for _ in range(2)]
    written_out(steppers[0].model)
    updates = [lambda stepper=stepper: stepper.advance(stepper.step + 1) for stepper in steppers]
    times = interleaved(*updates, repeats=31)
    return Comparison("training step, question-formation-small", *times, goal=None)
