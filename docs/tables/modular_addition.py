"""Prints the table of seeds in docs/modular-addition.md: the demo's setting, seeds 0 to 4.

    python docs/tables/modular_addition.py [RUNS]

Trains what is missing below RUNS (runs/seeds by default), one thread.
"""

import sys
from pathlib import Path

import torch

from analyses import FourierCircuit, FourierSpectrum, GrokkingPhases
from interp import load_experiment, trace, train
from interp.runs.run import Run

SEEDS = range(5)
HEAD = (
    "seed", "t_train", "t_test", "ratio", "category", "key frequencies", "top 5 share of W_E",
    "logit FVE, top 5", "logit FVE, untrained", "mean neuron FVE", "restricted loss",
    "excluded loss, train",
)  # fmt: skip


def column(seed: int, run: Run) -> tuple[str, ...]:
    """One column of the table."""
    phases = GrokkingPhases.measure(run).summary()
    spectrum, circuit = trace(run, FourierSpectrum).iloc[-1], trace(run, FourierCircuit)
    last, first = circuit.iloc[-1], circuit.iloc[0]
    return (
        str(seed),
        f"{phases['t_train']:.0f}",
        f"{phases['t_test']:.0f}",
        f"{phases['delay_ratio']:.1f}",
        str(phases["category"]),
        str(spectrum["key_frequencies"]),
        f"{spectrum['top_5_share_W_E']:.3f}",
        f"{last['logit_fve_top_5']:.3f}",
        f"{first['logit_fve_top_5']:.1e}",
        f"{last['mean_neuron_fve']:.3f}",
        f"{last['restricted_loss_all']:.1e}",
        f"{last['excluded_loss_train']:.2f}",
    )


def main() -> None:
    """Trains, measures, prints."""
    torch.set_num_threads(1)
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/seeds")
    columns: list[tuple[str, ...]] = [HEAD]
    for seed in SEEDS:
        experiment = load_experiment("modular-addition").with_seed(seed)
        columns.append(column(seed, train(experiment, folder / f"modular-addition-s{seed}")))
    first, *rest = zip(*columns, strict=True)
    print(f"| {' | '.join(first)} |\n|{'---|' * len(first)}")
    print("\n".join(f"| {' | '.join(line)} |" for line in rest))


if __name__ == "__main__":
    main()
