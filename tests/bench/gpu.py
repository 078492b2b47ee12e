"""Whether a GPU computes what the CPU does, then what it makes of stacks: `make bench-gpu`.

One command within 15 minutes: the tests marked `gpu` first, and no table where one of them fails;
then the rows of docs/benchmarks.md, each printed once it is known, the most valuable first, since
time on such a machine is short: six layers of 512 (qf), then the mod-113 transformer (mod), then
two layers of 64 (small). No row is begun late. The naive loop is a HookedTransformer with fused
AdamW and a host read of the loss a step, as anyone would write it.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from hooks import Examples, Facts, Sizes, build
from hooks.models import move
from interp.config.experiment import Experiment
from interp.tasks import Batch, Task
from interp.training.stack_step import StackStepper, assembled
from interp.training.state import fresh

WARM, SECONDS = 20, 4.0
FOR_CHECKS, FOR_ROWS = 300.0, 840.0  # seconds from the start, by which checks and new rows end
CUDA = torch.device("cuda")


class RandomTokens(Task):
    """Random tokens to be predicted one from the next: the work of a language task, not its aim."""

    splits = ("test",)
    evaluated = ("test",)
    positions = "all"

    name: str = "random_tokens"
    vocabulary: int = 72
    length: int = 30

    @property
    def sizes(self) -> Sizes:
        return Sizes(d_vocab=self.vocabulary, d_vocab_out=self.vocabulary, n_ctx=self.length)

    @property
    def facts(self) -> Facts:
        return Facts(chance=1 / self.vocabulary)

    @property
    def train_count(self) -> int:
        return 4096

    def data(self, count: int | None, generator: torch.Generator) -> Batch:
        tokens = self._tokens(generator)
        return {"tokens": tokens, "targets": tokens.roll(-1, 1), "scored": tokens >= 0}

    def examples(self, split: str, count: int | None, seed: int) -> Examples:
        tokens = self._tokens(torch.Generator().manual_seed(seed))[:count]
        return Examples(targets=tokens.roll(-1, 1), scored=tokens >= 0, tokens=tokens)

    def _tokens(self, generator: torch.Generator) -> Int[Tensor, "row pos"]:
        shape = (self.train_count, self.length)
        return torch.randint(self.vocabulary, shape, generator=generator)


def configurations() -> dict[str, tuple[dict[str, Any], tuple[int, ...]]]:
    """Experiments by name, each with the sizes of stack to measure."""
    # More steps than any rate: none is made beyond them.
    language = {"steps": 10_000_000, "lr": 1e-4, "grad_clip": 1.0, "loss_dtype": "float32"}
    modular = {"name": "modular_arithmetic", "p": 113, "train_fraction": 0.3}
    return {
        "qf": ({
            "task": RandomTokens(),
            "model": {"n_layers": 6, "d_model": 512, "n_heads": 8, "normalization_type": "LN"},
            "training": language | {"batch_size": 8},
        }, (1, 4, 10)),
        "mod": ({
            "task": modular,
            "model": {"d_model": 128, "n_heads": 4, "d_mlp": 512},
            "training": {"steps": 10_000_000, "weight_decay": 1.0},
        }, (1, 8)),
        "small": ({
            "task": RandomTokens(vocabulary=64, length=32),
            "model": {"n_layers": 2, "d_model": 64, "n_heads": 4, "normalization_type": "LN",
                      "act_fn": "gelu"},
            "training": language | {"batch_size": 64},
        }, (1, 16, 64)),
    }  # fmt: skip


Run = Callable[[int], None]  # makes so many steps


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    how: str
    matmul: str
    members: int
    steps_per_second: float
    gigabytes: float

    def __str__(self) -> str:
        models = self.steps_per_second * self.members
        return (
            f"| {self.name} | {self.how} | {self.matmul} | {self.members} | "
            f"{self.steps_per_second:,.0f} | {models:,.0f} | {self.gigabytes:.2f} |"
        )


def naive(experiment: Experiment) -> Run:
    """A loop over a HookedTransformer, one model."""
    assert experiment.training is not None
    model: Any = build(experiment.model, experiment.task.sizes, seed=0)
    move(model, CUDA)
    optimizer = torch.optim.AdamW(model.parameters(), lr=experiment.training.lr, fused=True)
    drawn = experiment.task.data(None, torch.Generator().manual_seed(0))
    data = {name: values.to(CUDA) for name, values in drawn.items()}
    size = experiment.training.batch_size or len(data["tokens"])

    def run(steps: int) -> None:
        for _ in range(steps):
            rows = torch.randint(len(data["tokens"]), (size,), device=CUDA)
            batch = {name: values[rows] for name, values in data.items()}
            logits = model(batch["tokens"])[:, -batch["targets"].shape[1] :]
            loss = experiment.task.loss(logits, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()

    return run


def stacked(experiment: Experiment, members: int) -> tuple[Run, StackStepper]:
    """A captured stack."""
    seeds = [experiment.with_seed(seed) for seed in range(members)]
    stepper = StackStepper(assembled(seeds, [fresh(each) for each in seeds], CUDA))
    return lambda steps: stepper.advance(stepper.step + steps), stepper


def compiled(experiment: Experiment) -> Run:
    """The naive loop's model under torch.compile with graphs; compiling is not timed."""
    assert experiment.training is not None
    model: Any = build(experiment.model, experiment.task.sizes, seed=0)
    move(model, CUDA)
    run_model = torch.compile(model, mode="reduce-overhead")
    optimizer = torch.optim.AdamW(model.parameters(), lr=experiment.training.lr, fused=True)
    drawn = experiment.task.data(None, torch.Generator().manual_seed(0))
    data = {name: values.to(CUDA) for name, values in drawn.items()}
    size = experiment.training.batch_size or len(data["tokens"])

    def run(steps: int) -> None:
        for _ in range(steps):
            rows = torch.randint(len(data["tokens"]), (size,), device=CUDA)
            batch = {name: values[rows] for name, values in data.items()}
            loss = experiment.task.loss(run_model(batch["tokens"]), batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return run


def rate(run: Run) -> float:
    """Steps a second, after some that are not timed."""
    run(WARM)
    torch.cuda.synchronize()
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        run(WARM)
        torch.cuda.synchronize()
        done += WARM
    return done / (time.perf_counter() - start)


def rows(
    name: str, table: dict[str, Any], sizes: tuple[int, ...], *, compile_too: bool
) -> Iterator[Callable[[], Row]]:
    """Every row of one configuration, measured when it is called."""
    experiment = Experiment.model_validate({"name": name, **table})
    for matmul in ("fp32", "tf32"):
        yield partial(measured, name, matmul, "naive", partial(naive, experiment))
        yield from (partial(_stack_row, name, matmul, experiment, size) for size in sizes)
        if compile_too and matmul == "fp32":
            yield partial(measured, name, matmul, "torch.compile", partial(compiled, experiment))


def _stack_row(name: str, matmul: str, experiment: Experiment, size: int) -> Row:
    _prepare(matmul)
    run, stepper = stacked(experiment, size)
    steps = rate(run)
    how = "stack, graph" if stepper.is_captured else "stack, EAGER"
    return Row(name, how, matmul, size, steps, torch.cuda.max_memory_allocated() / 2**30)


def measured(name: str, matmul: str, how: str, make: Callable[[], Run]) -> Row:
    """The row of one model."""
    _prepare(matmul)
    steps = rate(make())
    return Row(name, how, matmul, 1, steps, torch.cuda.max_memory_allocated() / 2**30)


def _prepare(matmul: str) -> None:
    torch.set_float32_matmul_precision("highest" if matmul == "fp32" else "high")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def checked() -> bool:
    """Whether the tests that need a GPU pass, in time."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-m",
        "gpu",
        "-x",
        "tests/interp/training/test_gpu.py",
    ]
    try:
        return subprocess.run(command, check=False, timeout=FOR_CHECKS).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def main() -> int:
    """Checks, then prints the table; 0 where there is nothing to check, 1 where a check fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="qf, mod, small; all where left out")
    parser.add_argument("--compile", default="small", help="the one configuration to compile")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("tests.bench.gpu: torch sees no GPU here; nothing was checked or measured")
        return 0
    start = time.monotonic()
    if not checked():
        print("tests.bench.gpu: a check failed or took too long; no table", flush=True)
        return 1
    print(f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}\n")
    print("| configuration | how | matmul | models | steps/s | model-steps/s | peak GB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, (table, sizes) in configurations().items():
        if arguments.names and name not in arguments.names:
            continue
        for row in rows(name, table, sizes, compile_too=name == arguments.compile):
            if time.monotonic() - start > FOR_ROWS:
                print("tests.bench.gpu: the time is up; the other rows were not measured")
                return 0
            try:
                print(row(), flush=True)
            except torch.OutOfMemoryError:
                print(f"| {name} | a row does not fit into the memory | | | | | |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
