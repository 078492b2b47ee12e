"""Peak memory of tree projection over many sentences, and over many checkpoints.

    python -m tests.bench.tree_memory

Prints the table of docs/analyses/tree-projection.md. Takes some minutes.
"""

import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from analyses import TreeProjection
from hooks import Snapshot, build
from hooks.models import PostNormConfig
from interp.config.experiment import Experiment
from interp.measure.analyze import analyze
from interp.runs.run import Run
from interp.tasks.language.question_formation import QuestionFormation
from interp.training.loop import train

SENTENCES, CHECKPOINTS = (500, 2_000, 10_000), (2, 100)


def many_sentences(count: int) -> None:
    """Projects trees of some questions' sentences, by a model of four layers of width 128."""
    task = QuestionFormation(validation_lines=count, generalization_lines=1)
    config = PostNormConfig(n_layers=4, d_model=128, n_heads=4)
    examples = task.examples("validation", count, 0)
    TreeProjection.measure(Snapshot.of(build(config, task.sizes, seed=0), examples))


def many_checkpoints(count: int) -> Experiment:
    """A run of two layers of width 32 that keeps so many checkpoints."""
    every = {"every": 1}
    return Experiment.model_validate(
        {
            "name": "many-checkpoints",
            "task": {"name": "question_formation", "train_lines": 1000},
            "model": {"kind": "post_norm", "n_layers": 2, "d_model": 32, "n_heads": 4},
            "training": {
                "steps": count - 1, "batch_size": 8,
                "checkpoints": every, "evaluate": {"every": count},
            },
        }
    )  # fmt: skip


def peak(*arguments: str) -> str:
    """The largest resident set of a process that does the one or the other, in MB."""
    command = [sys.executable, "-m", "tests.bench.tree_memory", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    """Measures each in a process of its own, prints their peaks."""
    print("| sentences | checkpoints | peak memory, MB |\n| --- | --- | --- |")
    for count in SENTENCES:
        print(f"| {count} | 1 | {peak('sentences', str(count))} |", flush=True)
    with TemporaryDirectory() as scratch:
        for count in CHECKPOINTS:
            run = train(many_checkpoints(count), Path(scratch) / str(count), device="cpu")
            found = peak("run", str(run.path))
            print(f"| 500 of each split | {len(run.steps)} | {found} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) > 1:
        kind, argument = sys.argv[1:]
        if kind == "sentences":
            many_sentences(int(argument))
        else:
            analyze(Run(Path(argument)), ["TreeProjection"])
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    else:
        main()
