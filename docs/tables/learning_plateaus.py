"""Prints the tables of docs/learning-plateaus.md: plateaus by strategy and seed.

    python docs/tables/learning_plateaus.py [RUNS [SEED ...]]

Trains what is missing below RUNS (runs/plateaus by default), one thread: ten strategies of the
preset factor-labels, about a minute and a half a run, seeds 0 to 2 unless others are named.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from analyses import ContextComponent, LearningPlateau, WeightsComponent
from hooks import Snapshot
from interp import load_experiment, train
from interp.config.experiment import Experiment
from interp.config.strategies import mixed, warm_up
from interp.runs.run import Run, is_done_with
from interp.training.device import prepare_process

PRESET = "factor-labels"
SEEDS = (0, 1, 2)
WARM_UP = 1000  # updates on a single map
LATE = 500  # updates on the hard task before a late reset
COMMON = (0, 500, 1000, 1500, 2000, 3000, 4000, 5000)  # steps
MOVED = (1500, 3000)  # steps, both on the plateau of most
PROBED = 6000  # prompts, of which a quarter are held out
LEVELS = (0.7, 0.9)  # accuracies of the last four labels
ASIDE = ("warm-up, moments reset late", "warm-up, clipped", "hard alone, clipped")
BY_ADAM = ("hard alone", "easy alone", "mixed", "weights loss", "context loss")
COMPONENTS = ("identity_quarter", "alone_best", "in_context_best")


def with_task(experiment: Experiment, **changes: Any) -> Experiment:
    """The experiment with another task of the same family."""
    task = experiment.task
    changed = type(task).model_validate(task.model_dump(exclude_unset=True) | changes)
    return experiment.model_copy(update={"task": changed})


def clipped(experiment: Experiment) -> Experiment:
    """The experiment with gradients of norm 1 at most."""
    return experiment.model_copy(
        update={"training": experiment.require_training().model_copy(update={"grad_clip": 1.0})}
    )


def reset_late(experiment: Experiment) -> Experiment:
    """A warm-up whose moments go over to the hard task and are forgotten a while later."""
    warm = warm_up(experiment, WARM_UP, maps=1)
    training = warm.require_training()
    first, then = training.schedule
    kept = then.model_copy(update={"steps": LATE})
    rest = then.model_copy(update={"steps": then.steps - LATE, "reset_optimizer": True})
    changed = training.model_copy(update={"schedule": (first, kept, rest)})
    return warm.model_copy(update={"training": changed})


STRATEGIES: dict[str, Callable[[Experiment], Experiment]] = {
    "hard alone": lambda hard: hard,
    "easy alone": lambda hard: with_task(hard, maps=1),
    "warm-up": lambda hard: warm_up(hard, WARM_UP, maps=1),
    "warm-up, moments reset": lambda hard: warm_up(hard, WARM_UP, maps=1, reset_optimizer=True),
    "warm-up, moments reset late": reset_late,
    "warm-up, clipped": lambda hard: clipped(warm_up(hard, WARM_UP, maps=1)),
    "hard alone, clipped": clipped,
    "mixed": lambda hard: mixed(hard, 0.5, maps=1),
    "weights loss": lambda hard: with_task(hard, extra_loss="weights"),
    "context loss": lambda hard: with_task(hard, extra_loss="context"),
}


def trained(folder: Path, strategy: str, seed: int) -> Run:
    """A seed of a strategy, trained where missing."""
    experiment = STRATEGIES[strategy](load_experiment(PRESET)).with_seed(seed)
    path = folder / f"{strategy}-s{seed}".replace(", ", "-").replace(" ", "-")
    return Run(path) if is_done_with(path, experiment) else train(experiment, path)


def split_of(strategy: str) -> str:
    """Maps drawn anew, but of a single map, which is all that the easy task teaches, that map."""
    return "test" if strategy == "easy alone" else "fresh"


def plateau(run: Run, strategy: str) -> None:
    """Length of the plateau and the rise after it, on prompts that no map could be kept for."""
    split = split_of(strategy)
    found = LearningPlateau.measure(run, split=split).summary()
    metrics = run.metrics
    late = list(zip(metrics["step"], metrics[f"{split}.late_accuracy"], strict=True))
    reached = (
        next((str(step) for step, share in late if share >= level), "never") for level in LEVELS
    )
    row(strategy, run.experiment.seeds.model, found["told"], *reached,
        f"{late[-1][1]:.3f}", f"{found['budget']:.0f}")  # fmt: skip


def components(run: Run, strategy: str) -> None:
    """Scores of probes through training: at first, at their least after it, and at the end."""
    found = []
    for snapshot in probed(run, strategy, run.steps):
        weights = WeightsComponent.measure(snapshot, forms=("identity", "alone"))
        context = ContextComponent.measure(snapshot, forms=())
        found.append(weights.summary() | context.summary())
    told = (through_training(found, name) for name in COMPONENTS)
    row(strategy, run.experiment.seeds.model, *told)


def papers_probe(run: Run, strategy: str) -> None:
    """The weights component after a quarter of the blocks, as Adam's probe reads it."""
    found = []
    for snapshot in probed(run, strategy, run.steps[::2]):
        scores = WeightsComponent.measure(snapshot, forms=("identity", "alone"), method="adam")
        found.append(scores.summary())
    told = (through_training(found, name) for name in ("identity_quarter", "alone_quarter"))
    row(strategy, run.experiment.seeds.model, *told)


def common_part(strategy: str, runs: Sequence[Run]) -> None:
    """How much of the final residual stream is the same at all queries, by step, over all seeds."""
    found = []
    for run in runs:
        shares = []
        for snapshot in probed(run, strategy, COMMON, prompts=500):
            (final,) = snapshot.cache(
                f"blocks.{snapshot.config.n_layers - 1}.hook_resid_post"
            ).values()
            stream = final[:, ::2]
            mean = stream.mean((0, 1))
            shares.append(float(mean.norm() / (stream - mean).square().sum(-1).mean().sqrt()))
        found.append(shares)
    row(strategy, *(f"{min(each):.1f} to {max(each):.1f}" for each in zip(*found, strict=True)))


def after_the_switch(run: Run, strategy: str) -> None:
    """Loss on the hard task as warm-up ends, and how far all parameters move a while later."""
    metrics = run.metrics.set_index("step")
    early, late = (run.snapshot(step).parameters() for step in MOVED)
    moved = sum(float((late[name] - each).square().sum()) for name, each in early.items()) ** 0.5
    loss = metrics.loc[WARM_UP, "fresh.loss"]
    row(strategy, run.experiment.seeds.model, f"{loss:.2f}", f"{moved:.2f}")


def probed(
    run: Run, strategy: str, steps: Sequence[int], prompts: int = PROBED
) -> Iterator[Snapshot]:
    """Checkpoints on as many prompts, the same at every step."""
    split = split_of(strategy)
    asked = with_task(run.experiment, test_prompts=prompts)
    examples = asked.task.examples(split, None, asked.seeds.data)
    return (run.snapshot(step, split, 1).on(examples) for step in steps)


def through_training(found: Sequence[Mapping[str, float | str]], name: str) -> str:
    """A score at first, at its least after it, and at the end."""
    first, *later = (float(each[name]) for each in found)
    return " / ".join(f"{each:.3f}" for each in (first, min(later), later[-1]))


def row(*cells: object) -> None:
    """One row of a table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def main(folder: Path, seeds: Sequence[int]) -> None:
    """Trains, measures, prints."""
    runs = [(name, trained(folder, name, seed)) for seed in seeds for name in STRATEGIES]
    runs.sort(key=lambda pair: list(STRATEGIES).index(pair[0]))
    row("strategy", "seed", "plateau", *(f"first at {level}" for level in LEVELS), "last", "steps")
    for name, run in runs:
        plateau(run, name)
    row("strategy", "seed", *COMPONENTS)
    for name, run in runs:
        if name not in ASIDE:
            components(run, name)
    row("strategy", "seed", "identity_quarter", "alone_quarter", "by Adam's probe")
    for name, run in runs:
        if name in BY_ADAM:
            papers_probe(run, name)
    row("strategy", *COMMON, "common part of the final stream over the rest of it")
    for name in STRATEGIES:
        common_part(name, [run for strategy, run in runs if strategy == name])
    row("strategy", "seed", f"loss at step {WARM_UP}", f"moved from step {MOVED[0]} to {MOVED[1]}")
    for name, run in runs:
        if name.startswith(("warm-up", "hard")):
            after_the_switch(run, name)


if __name__ == "__main__":
    prepare_process(1)
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/plateaus"),
         tuple(map(int, sys.argv[2:])) or SEEDS)  # fmt: skip
