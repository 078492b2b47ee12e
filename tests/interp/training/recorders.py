"""Ways to record a step where there is no GPU, and a task whose losses tell its batches apart."""

import torch
from torch.fx.experimental.proxy_tensor import make_fx

from hooks import Examples, Facts, Sizes
from interp.config.experiment import Experiment
from interp.tasks import Task
from interp.training.batches import batch_source
from interp.training.cuda_graph import Recorder
from tests.planted import tiny_experiment

CPU = torch.device("cpu")


def _called(step):
    step()
    return step


def _traced(step):
    """The operations of a step on the tensors it found, without its Python, as a graph has them."""

    def run():
        step()
        return ()

    trace = make_fx(run)()
    return torch.no_grad()(lambda: trace())


CALLED, TRACED = Recorder(_called), Recorder(_traced)


class Numbered(Task):
    """Rows that bear their number; the loss of a batch tells which rows it has, and in which order.

    With `lengths` they are sentences, of so many tokens each.
    """

    splits = ("test",)
    evaluated = ("test",)
    positions = "all"
    name: str = "numbered"
    count: int = 24
    is_endless: bool = False
    lengths: tuple[int, ...] = ()

    @property
    def widths(self):  # pyright: ignore[reportIncompatibleVariableOverride]  # of the instance
        return (2, 4, 8) if self.lengths else ()

    @property
    def sizes(self):
        return Sizes(d_vocab=5, d_vocab_out=5, n_ctx=8)

    @property
    def facts(self):
        return Facts(chance=0.2)

    @property
    def train_count(self):
        return None if self.is_endless else len(self.lengths) or self.count

    def data(self, count, generator):
        first = int(torch.randint(1000, (), generator=generator)) if count else 0
        targets = torch.arange(first, first + (count or self.count))[:, None]
        return {"tokens": targets % 5, "targets": targets, "scored": targets >= 0}

    def flat(self, generator):
        ends = torch.tensor([0, *self.lengths]).cumsum(0)
        return {"flat": torch.arange(int(ends[-1])) % 5, "offsets": ends}

    def examples(self, split, count, seed):
        tokens = torch.zeros(4, 2, dtype=torch.long)
        return Examples(targets=tokens, scored=tokens >= 0, tokens=tokens)

    def loss(self, logits, batch):
        targets = batch["targets"]
        weights = torch.arange(1, targets.shape[0] + 1, device=targets.device)[:, None]
        return (targets * weights).sum().to(logits.dtype) + 0 * logits.sum()


def numbered(task: Numbered, count: int = 1, **training) -> list[Experiment]:
    """Experiments on numbered rows that differ in the order of their batches."""
    first = tiny_experiment(**training).model_copy(update={"task": task})
    return [first.with_seed(seed) for seed in range(count)]


def losses_of_batches(experiments: list[Experiment], steps: int) -> torch.Tensor:
    """The losses of the batches that every model would read alone."""
    none = torch.zeros(1, dtype=torch.double)
    sources = [batch_source(each, CPU) for each in experiments]
    losses = [
        [float(each.task.loss(none, source(step))) for each, source in pairs]
        for step in range(steps)
        for pairs in [zip(experiments, sources, strict=True)]
    ]
    return torch.tensor(losses, dtype=torch.double)
