"""Writes the run folder of a network whose weights are written by hand: nothing is trained."""

from pathlib import Path

import torch

from hooks import build
from hooks.models import parameters_of
from interp.config.experiment import Experiment
from interp.runs.checkpoints import pack
from interp.runs.files import write_whole
from interp.runs.run import Run
from interp.runs.writing import writing


def construct(experiment: Experiment, path: str | Path) -> Run:
    """Writes a network into a run folder, in float64, as its only checkpoint, of step 0.

    It is analysed and reported as any run. There are no metrics, since there was no training.

    Args:
        experiment: Its model is of kind `constructed`, and it has no training; the model's seed
            draws the phases of an analytic network.
        path: The folder; made where missing. One that holds this network already is left as it is.

    Raises:
        ValueError: The experiment is another kind's or has training, its task does not fit, or the
            folder belongs to another experiment.
    """
    if experiment.model.kind != "constructed":
        raise ValueError(
            f"experiment {experiment.name}: model.kind is {experiment.model.kind}, and only "
            "constructed networks are written without training; use `interp train`"
        )
    if experiment.training is not None:
        raise ValueError(
            f"experiment {experiment.name}: a constructed network is not trained; leave out "
            "[training]"
        )
    sizes, seed = experiment.task.sizes, experiment.seeds.model
    model = build(experiment.model, sizes, seed=seed, dtype="float64")
    with writing(experiment, Path(path), torch.device("cpu")) as run:
        file = run.path / "checkpoints" / "0.safetensors"
        if not file.is_file():
            write_whole(file, pack(parameters_of(model), step=0))
    return run
