"""Two ways past a learning plateau: an easier task first, or an easier task among the hard one.

Both return an experiment with a training schedule; the evaluated task stays the hard one. A third
way, a further loss that names the factors, is an option of the task (`extra_loss`).

Source: Fu et al. 2024 (arXiv:2309.06054), section on strategies, as far as known to us: training
first on a task of a single map and then on the hard one, or on both in equal shares. Whether their
optimiser keeps its moments at the switch is not known: `reset_optimizer` offers both.
"""

from typing import Any

from pydantic import ValidationError

from interp.config.experiment import Experiment, readable


def warm_up(
    experiment: Experiment, steps: int, *, reset_optimizer: bool = False, **easier: Any
) -> Experiment:
    """The experiment with an easier task before its own training.

    Args:
        experiment: The experiment on the hard task.
        steps: Updates on the easier task, made before the experiment's own number of updates.
        reset_optimizer: Whether the optimiser forgets its moments at the switch.
        easier: Fields of the task that differ while warming up, such as `maps=1`.

    Raises:
        ValueError: The experiment has no training or a schedule already, or a field does not fit.
    """
    hard = {
        "steps": experiment.require_training().steps,
        "tasks": [{}],
        "reset_optimizer": reset_optimizer,
    }
    return _scheduled(experiment, [{"steps": steps, "tasks": [easier]}, hard])


def mixed(experiment: Experiment, share: float = 0.5, **easier: Any) -> Experiment:
    """The experiment with examples of an easier task among its own.

    Args:
        experiment: The experiment on the hard task.
        share: The expected share of easier examples in each batch, above 0 and below 1.
        easier: Fields of the task that differ in the easier examples, such as `maps=1`.

    Raises:
        ValueError: As for `warm_up`, or `share` is out of range.
    """
    if not 0 < share < 1:
        raise ValueError(f"share = {share}: take one above 0 and below 1")
    steps = experiment.require_training().steps
    return _scheduled(
        experiment, [{"steps": steps, "tasks": [easier, {}], "weights": [share, 1 - share]}]
    )


def _scheduled(experiment: Experiment, phases: list[dict[str, Any]]) -> Experiment:
    """The experiment with a schedule of these phases, and as many steps as they have together."""
    training = experiment.require_training()
    if training.schedule:
        raise ValueError(f"training.schedule: {experiment.name} has one already; take it out")
    changed = {
        "task": experiment.task,
        "training": training.model_dump(exclude_unset=True)
        | {"steps": sum(phase["steps"] for phase in phases), "schedule": phases},
    }
    try:
        return Experiment.model_validate(experiment.model_dump(exclude_unset=True) | changed)
    except ValidationError as error:
        raise ValueError(readable(error)) from None
