"""Prints whose auxiliary question-formation runs move, by kind of relative clause and step.

    python docs/tables/moved_auxiliary.py [RUN ...]

RUN is a run folder (fixtures/question-formation-small by default); several are seeds of one
experiment, measured at the steps that all of them have kept. Nothing is trained. A run takes about
20 seconds a step on one thread.

Each pair is a question of the run's generalization set, and the same with its two auxiliaries
exchanged. m is the logit of the clean question's main auxiliary less that of the other, at `quest`.
Effects are m(patched) - m(corrupted): activations of the clean question are put into the run on the
corrupted one (denoising), by default the residual stream after the first layer. A model that moves
the relative clause's auxiliary has m(clean) < 0 and a negative effect of that auxiliary. "moves
main" is the share of pairs with m(clean) > 0 > m(corrupted), "moves relative" that of the reverse;
in the rest the answer does not follow the exchange.

One run: 95 % intervals are 1.96 paired standard errors over questions. Several: Student's, of the
mean over seeds.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from analyses.statistics import mean_interval, wilson_interval
from hooks import SentenceFacts, Snapshot
from hooks.circuits.pairs import Pairs, standard_error
from hooks.patching import patched
from interp.runs.run import Run
from interp.training.device import prepare_process

FIXTURE = "fixtures/question-formation-small"
KINDS = ("SRC_i", "SRC_t", "ORC")
MAX_PAIRS = 256  # of a kind
AUXILIARIES = ("main auxiliary", "relative auxiliary")
SHARES = ("moves main", "moves relative")
CONFIDENCE = 0.95
NORMAL = 1.96  # standard errors to either side that hold 95 % of normal values
Measured = dict[str, Tensor]  # by name, one value a pair


def questions(run: Run, change: str) -> dict[str, Pairs]:
    """Pairs of a run's generalization set, by kind of relative clause."""
    pairs = run.experiment.task.input_pairs(
        "generalization", None, run.experiment.seeds.data, change
    )
    subjects = pairs.clean.facts(SentenceFacts).subjects
    kinds = pairs.clean.label("subject")
    return {
        kind: pairs.at((kinds == subjects.index(kind)).nonzero()[:MAX_PAIRS, 0]) for kind in KINDS
    }


def difference(pairs: Pairs, snapshot: Snapshot) -> Tensor:
    """The logit difference of each pair."""
    return pairs.values("logit_difference", pairs.answers(snapshot.logits()))


def effect(pairs: Pairs, clean: Snapshot, corrupted: Snapshot, layer: int, role: str) -> Tensor:
    """The effect on each pair of the residual stream after a layer, at the position of a role."""
    edit = patched(clean, f"blocks.{layer}.hook_resid_post", positions=pairs.roles[role])
    return difference(pairs, corrupted.edited(edit)) - difference(pairs, corrupted)


def head_effect(
    pairs: Pairs, clean: Snapshot, corrupted: Snapshot, layer: int, head: int
) -> Tensor:
    """The effect on each pair of a head's output at `quest`."""
    edit = patched(
        clean, f"blocks.{layer}.attn.hook_z", heads=[head], positions=pairs.roles["quest"]
    )
    return difference(pairs, corrupted.edited(edit)) - difference(pairs, corrupted)


def moved(pairs: Pairs, clean: Snapshot, corrupted: Snapshot) -> Measured:
    """Which auxiliary is moved, of each pair, by behaviour and by patching the first layer."""
    m_clean, m_corrupted = difference(pairs, clean), difference(pairs, corrupted)
    found = {
        "m(clean)": m_clean,
        "m(corrupted)": m_corrupted,
        SHARES[0]: ((m_clean > 0) & (m_corrupted < 0)).double(),
        SHARES[1]: ((m_clean < 0) & (m_corrupted > 0)).double(),
    }
    return found | {role: effect(pairs, clean, corrupted, 0, role) for role in AUXILIARIES}


def where(pairs: Pairs, clean: Snapshot, corrupted: Snapshot) -> Measured:
    """Effects by layer, at both auxiliaries and at `quest`, and of each head at `quest`."""
    z = "blocks.0.attn.hook_z"
    n_layers, n_heads = clean.config.n_layers, clean.cache(z)[z].shape[2]
    found = {
        f"{role}, after layer {layer}": effect(pairs, clean, corrupted, layer, role)
        for role in (*AUXILIARIES, "quest")
        for layer in range(n_layers)
    }
    return found | {
        f"head {layer}.{head} at quest": head_effect(pairs, clean, corrupted, layer, head)
        for layer in range(n_layers)
        for head in range(n_heads)
    }


def controlled(pairs: Pairs, clean: Snapshot, corrupted: Snapshot) -> Measured:
    """Where another noun of the object is all that differs: nothing is to be recovered."""
    span = difference(pairs, clean) - difference(pairs, corrupted)
    return {
        "m(clean) - m(corrupted)": span,
        "object": effect(pairs, clean, corrupted, 0, "object"),
    }


MEASURES = {"exchange": moved, "object": controlled}


def measured(run: Run, change: str, steps: Sequence[int]) -> dict[tuple[str, int], Measured]:
    """Values of each pair of a change, by kind and step."""
    found = {}
    for kind, pairs in questions(run, change).items():
        for step in steps:
            whole = run.snapshot(step)
            both = whole.on(pairs.clean), whole.on(pairs.corrupted)
            found[kind, step] = MEASURES[change](pairs, *both)
            if change == "exchange" and step == steps[-1]:
                found[kind, step] |= where(pairs, *both)
    return found


def cell(name: str, values: Sequence[Tensor]) -> str:
    """The mean over runs of the mean over pairs, and its interval (Wilson's of one run's share)."""
    means = np.array([float(each.mean()) for each in values])
    low, high = mean_interval(means, CONFIDENCE)
    if len(means) == 1 and name in SHARES:
        low, high = wilson_interval(int(values[0].sum()), len(values[0]), CONFIDENCE)
    elif name in SHARES:
        low, high = max(low, 0.0), min(high, 1.0)
    elif len(means) == 1:
        half = NORMAL * float(standard_error(values[0]))
        low, high = means[0] - half, means[0] + half
    return f"{means.mean():.2f} ({low:.2f} to {high:.2f})"


def over_steps(runs: Sequence[Mapping[tuple[str, int], Measured]]) -> None:
    """Whose auxiliary is moved, or the same of controls, by kind and step."""
    names = [name for name in next(iter(runs[0].values())) if "," not in name]
    row("kind", "step", "pairs", *names)
    for kind, step in runs[0]:
        found = [run[kind, step] for run in runs]
        counts = sorted({len(each[names[0]]) for each in found})
        pairs = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        row(kind, step, pairs, *(cell(name, [each[name] for each in found]) for name in names))


def by_seed(names: Sequence[str], runs: Sequence[Mapping[tuple[str, int], Measured]]) -> None:
    """The effect of each auxiliary in each run, with 1.96 standard errors over questions."""
    row("kind", "step", "effect of", *names)
    for kind, step in runs[0]:
        for role in AUXILIARIES:
            row(kind, step, role, *(plus_minus(run[kind, step][role]) for run in runs))


def plus_minus(values: Tensor) -> str:
    """A mean with 1.96 standard errors."""
    return f"{float(values.mean()):+.2f} +- {NORMAL * float(standard_error(values)):.2f}"


def by_place(runs: Sequence[Mapping[tuple[str, int], Measured]], last: int) -> None:
    """Effects by layer and head at the last step, a column for each kind."""
    names = [name for name in runs[0][KINDS[0], last] if "after layer" in name or "head" in name]
    row("effect of", *KINDS)
    for name in names:
        row(name, *(cell(name, [run[kind, last][name] for run in runs]) for kind in KINDS))


def row(*cells: object) -> None:
    """One row of a table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def main() -> None:
    """Measures, prints."""
    prepare_process(1)
    torch.set_grad_enabled(False)
    runs = [Run(Path(path)) for path in sys.argv[1:] or [FIXTURE]]
    steps = sorted(set.intersection(*(set(run.steps) for run in runs)))
    print(f"## Whose auxiliary is moved: {len(runs)} runs, steps {' '.join(map(str, steps))}\n")
    exchanged = [measured(run, "exchange", steps) for run in runs]
    over_steps(exchanged)
    print("\n## Each run\n")
    by_seed([run.name for run in runs], exchanged)
    print(f"\n## Where, at step {steps[-1]}\n")
    by_place(exchanged, steps[-1])
    print("\n## Control: another noun in the object\n")
    over_steps([measured(run, "object", steps) for run in runs])


if __name__ == "__main__":
    main()
