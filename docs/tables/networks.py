"""Prints the tables of docs/models.md: constructed networks, and small trained ones by seed.

    python docs/tables/networks.py [RUNS]

Constructed networks take seconds. Trains what is missing below RUNS (runs/networks by default),
one thread: 32 runs, about five minutes of one core.
"""

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from hooks import InputFacts, Snapshot, build
from hooks.models import ConstructedConfig
from hooks.models.constructed import leads
from interp import load_experiment, train
from interp.runs.run import Run
from interp.tasks.modular_arithmetic import ModularArithmetic

SEEDS = range(8)
LEAD = 1e-9


def share_right(p: int, config: ConstructedConfig, seed: int = 0) -> float:
    """Share of all p^2 pairs whose right class leads by 1e-9 in float64."""
    task = ModularArithmetic(p=p, equals=False)
    model = build(config, task.sizes, seed=seed, dtype="float64")
    snapshot = Snapshot.of(model, task.examples("all", None, 0))
    lead = leads(snapshot.logits(), snapshot.examples.targets)
    return float((lead >= LEAD).double().mean())


def constructed() -> None:
    """Accuracy of the circle by nonlinearity, modulus and width, and of five neurons by modulus."""
    widths = (2, 3, 4, 5, 6, 7, 8, 9, 10, 16)
    row("circle", "p", *widths)
    relu, square = ConstructedConfig(), ConstructedConfig(act_fn="square")
    for config, p in [(relu, 31), (relu, 59), (relu, 67), (relu, 113), (square, 67)]:
        configs = [config.model_copy(update={"d_mlp": width}) for width in widths]
        row(config.act_fn or "relu", p, *(f"{share_right(p, each):.4f}" for each in configs))
    moduli = (12, 30, 50, 67, 80, 97, 113, 150, 200, 300)
    row("five neurons", *moduli)
    row("", *(f"{share_right(p, ConstructedConfig()):.4f}" for p in moduli))


def analytic() -> None:
    """Accuracy of the analytic network by modulus and width, least and largest of the seeds."""
    factors = (0.25, 0.5, 1, 2, 4, 8)
    row("analytic", *(f"{factor:g} p" for factor in factors))
    for p in (31, 67, 97):
        configs = [ConstructedConfig(network="analytic", d_mlp=int(f * p)) for f in factors]
        shares = [[share_right(p, each, seed) for seed in SEEDS] for each in configs]
        row(p, *(f"{min(each):.3f} to {max(each):.3f}" for each in shares))


def trained(folder: Path, preset: str, facts: Callable[[Run], tuple[str, ...]]) -> None:
    """One row a seed of a preset, trained where missing."""
    for seed in SEEDS:
        run = train(load_experiment(preset).with_seed(seed), folder / f"{preset}-{seed}")
        metrics = run.metrics
        at, train_accuracy, test_accuracy = (
            metrics[name].tolist() for name in ("step", "train.accuracy", "test.accuracy")
        )
        reached = [first(at, each) for each in (train_accuracy, test_accuracy)]
        row(preset, seed, *reached, f"{test_accuracy[-1]:.3f}", *facts(run))


def first(steps: Sequence[int], accuracy: Sequence[float]) -> str:
    """The first evaluated step at 99 %."""
    return next((str(s) for s, a in zip(steps, accuracy, strict=True) if a >= 0.99), "never")


def pruned(run: Run) -> tuple[str, ...]:
    """The kept step from which on no weight of a distractor exceeds 0.05."""
    weights, inputs = run.weights("blocks.0.mlp.W_in").abs(), run.facts(InputFacts)
    rows = [
        not is_relevant and place != inputs.bias_input
        for place, is_relevant in enumerate(inputs.relevant)
    ]
    left = (weights[:, torch.tensor(rows)] > 0.05).sum((1, 2)).tolist()
    clean = [step for i, step in enumerate(run.steps) if not any(left[i:])]
    return (str(clean[0]) if clean else f"{left[-1]} left",)


def doubling(run: Run) -> tuple[str, ...]:
    """|mean exp i (phi_out - 2 phi_in)| over the neurons at the last step: 1 is a pentagram."""

    def phase(weights: Tensor) -> Tensor:
        return torch.atan2(weights[1], weights[0])

    own = run.parameters(run.steps[-1])
    inward, outward = phase(own["blocks.0.mlp.W_in"]), phase(own["blocks.0.mlp.W_out"].T)
    order = torch.exp(1j * (outward - 2 * inward)).mean().abs()
    gaps = inward.sort().values.diff(append=inward.min()[None] + 2 * math.pi)
    return f"{float(order):.3f}", f"{float(gaps.std(correction=0) / gaps.mean()):.3f}"


def row(*cells: object) -> None:
    """One row of a table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    runs = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/networks")
    constructed()
    analytic()
    row("preset", "seed", "t_train", "t_test", "test accuracy", "all distractors below 0.05")
    trained(runs, "parity", pruned)
    trained(runs, "parity-1200", pruned)
    row("preset", "seed", "t_train", "t_test", "test accuracy")
    trained(runs, "mlp-addition", lambda run: ())
    row("preset", "seed", "t_train", "t_test", "test accuracy", "R", "variation of gaps")
    trained(runs, "five-neurons", doubling)
