"""Two ways past a learning plateau: an easier task first, or an easier task among the hard one.

Each gives an experiment with a schedule of its own; the evaluated task stays the hard one. A third,
a further loss that names the factors, is a task's own option (`extra_loss`).

Source: Fu et al. 2024 (arXiv:2309.06054), section on strategies, as far as known to us: training
first on a task of a single map, then on the hard one; half of either. Whether their optimiser keeps
its moments at the switch is not known: both are here.
"""

from typing import Any

from pydantic import ValidationError

from interp.config.experiment import Experiment, readable
from interp.training.loop import training_of


def warm_up(
    experiment: Experiment, steps: int, *, reset_optimizer: bool = False, **easier: Any
) -> Experiment:
    """Trains on an easier task first, then on the experiment's own for as long as it says.

    Args:
        experiment: What is trained for.
        steps: Updates on the easier task, which come before and are not counted in the rest.
        reset_optimizer: Whether the optimiser forgets its moments at the switch.
        easier: Fields of the task that differ while warming up, such as `maps=1`.

    Raises:
        ValueError: The experiment has no training or a schedule already, or a field does not fit.
    """
    total = training_of(experiment).steps
    first = {"steps": steps, "tasks": [easier]}
    then = {"steps": total, "tasks": [{}], "reset_optimizer": reset_optimizer}
    return _scheduled(experiment, [first, then])


def mixed(experiment: Experiment, share: float = 0.5, **easier: Any) -> Experiment:
    """Trains on an easier task and on the experiment's own at once.

    Args:
        experiment: What is trained for.
        share: Of the easier task's examples in each batch, in the mean; above 0 and below 1.
        easier: Fields of the task that differ in those, such as `maps=1`.

    Raises:
        ValueError: As for `warm_up`, or `share` is out of range.
    """
    if not 0 < share < 1:
        raise ValueError(f"share = {share}: take one above 0 and below 1")
    steps = training_of(experiment).steps
    return _scheduled(
        experiment, [{"steps": steps, "tasks": [easier, {}], "weights": [share, 1 - share]}]
    )


def _scheduled(experiment: Experiment, phases: list[dict[str, Any]]) -> Experiment:
    training = training_of(experiment)
    if training.schedule:
        raise ValueError(f"training.schedule: {experiment.name} has one already; take it out")
    steps = sum(phase["steps"] for phase in phases)
    table = experiment.model_dump(exclude_unset=True)
    table["task"] = experiment.task
    changed = training.model_dump(exclude_unset=True) | {"steps": steps, "schedule": phases}
    try:
        return Experiment.model_validate(table | {"training": changed})
    except ValidationError as error:
        raise ValueError(readable(error)) from None
