"""Trains the tiny experiment into one folder a place, each time killed there by SIGKILL.

    python -m tests.interp.killed_training FOLDER

A process a place, forked from one that has imported everything already.
"""

import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # this and the next are slow, and imported late by those who use them
import transformer_lens  # noqa: F401

from tests.planted import tiny_experiment

module: Any = importlib.import_module("interp.train")
files: Any = Path


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def while_evaluating():
    scores_of = module._scores

    def scores(experiment, trainee):
        score = scores_of(experiment, trainee)
        return lambda: die() if trainee.step == 15 else score()

    module._scores = scores


def between_checkpoint_and_state():
    write = module.write_whole

    def write_whole(path, content):
        is_second = (path.parent / "checkpoints" / "20.safetensors").is_file()
        (die if path.name == "state.safetensors" and is_second else write)(path, content)

    module.write_whole = write_whole


def within_a_line_of_metrics():
    append = module._append_metrics

    def append_metrics(run, row):
        if row["step"] == 25:
            with (run.path / "metrics.jsonl").open("a") as file:
                file.write('{"step": 25, "train.lo')
            die()
        append(run, row)

    module._append_metrics = append_metrics


def before_a_checkpoint_is_renamed():
    rename = files.replace

    def replace(path, to):
        return (die if path.name == ".30.safetensors.tmp" else rename)(path, to)

    files.replace = replace


# Each place, and the updates that are left after the last state written before it (of 40).
PLACES = {
    while_evaluating: 30,
    between_checkpoint_and_state: 30,
    within_a_line_of_metrics: 20,
    before_a_checkpoint_is_renamed: 20,
}


def train_until_killed(place, path):
    """How a child that trains into a folder ended: the signal that killed it."""
    child = os.fork()
    if child == 0:
        place()
        module.train(tiny_experiment(), path, device="cpu")
        os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    torch.set_num_threads(1)
    for place in PLACES:
        ended = train_until_killed(place, Path(sys.argv[1]) / place.__name__)
        assert ended == signal.SIGKILL, f"{place.__name__}: ended by signal {ended}"
