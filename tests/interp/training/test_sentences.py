"""Training data of sentences without padding."""

from collections import Counter

import pytest
import torch
from torch.testing import assert_close

from hooks import Facts, Sizes
from interp.config.training import Seeds
from interp.tasks import Task
from interp.tasks.language.base import padded
from interp.training.batches import batch_source, block_source
from interp.training.loop import LoneStepper
from interp.training.stack_step import StackStepper, assembled
from interp.training.state import fresh
from tests.planted import tiny_experiment

CPU = torch.device("cpu")


class Sentences(Task):
    """Forty sentences of two to nine random words."""

    splits = ("test",)
    evaluated = ("test",)
    positions = "all"
    widths = (4, 8, 10)
    name: str = "sentences"

    @property
    def sizes(self):
        return Sizes(d_vocab=12, d_vocab_out=12, n_ctx=10)

    @property
    def facts(self):
        return Facts(chance=1 / 12)

    @property
    def train_count(self):
        return 40

    def flat(self, generator):
        lengths = torch.randint(2, 10, (40,), generator=generator)
        offsets = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
        return {"flat": torch.randint(1, 12, (int(offsets[-1]),), generator=generator),
                "offsets": offsets}  # fmt: skip


def sentences(**training):
    table = {"dtype": "float64", "batch_size": 8, "frozen": (), "lr": 1e-3, "warmup_steps": 0}
    return tiny_experiment(**table | training).model_copy(update={"task": Sentences()})


def test_a_sentence_is_padded_and_its_next_tokens_are_the_targets():
    flat, offsets = torch.tensor([5, 6, 7, 8, 9]), torch.tensor([0, 3, 5])
    batch = padded({"flat": flat, "offsets": offsets}, 4, torch.tensor([1, 0]))
    assert batch["tokens"].tolist() == [[8, 9, 0, 0], [5, 6, 7, 0]]
    assert batch["targets"].tolist() == [[9, 0, 0, 0], [6, 7, 0, 0]]
    assert batch["scored"].tolist() == [[True, False, False, False], [True, True, False, False]]


def test_a_batch_has_the_least_width_that_holds_its_longest():
    experiment = sentences()
    source = batch_source(experiment, CPU)
    for step in range(20):
        tokens = source(step)["tokens"]
        longest = int((tokens > 0).sum(1).max())
        assert tokens.shape[1] == min(width for width in Sentences.widths if width >= longest)


def test_an_epoch_sees_every_sentence_once():
    source = batch_source(sentences(), CPU)
    seen = Counter(
        tuple(row[row > 0].tolist()) for step in range(5) for row in source(step)["tokens"]
    )
    experiment = sentences()
    table = block_source(experiment, CPU)(0).table
    parts = table["flat"].tensor_split(table["offsets"][1:-1])
    assert seen == Counter(tuple(part.tolist()) for part in parts)


@pytest.mark.parametrize("data_seeds", [(0, 0), (0, 1)], ids=["shared data", "own data"])
def test_replicas_read_sentences_as_they_would_alone(data_seeds):
    experiments = [
        sentences().model_copy(update={"seeds": Seeds(model=i, data=data, order=i)})
        for i, data in enumerate(data_seeds)
    ]
    stepper = StackStepper(assembled(experiments, [fresh(each) for each in experiments], CPU))
    stepper.advance(12)
    for index, experiment in enumerate(experiments):
        lone = LoneStepper(experiment, fresh(experiment), CPU)
        lone.advance(12)
        mine = {name: value[index] for name, value in stepper.stack.parameters.items()}
        alone = {name: value.detach() for name, value in lone.model.named_parameters()}
        assert_close(mine, alone, rtol=0, atol=1e-9)


def test_a_sentence_that_no_width_holds_is_refused():
    class Short(Sentences):
        widths = (4, 8)

    experiment = sentences().model_copy(update={"task": Short()})
    with pytest.raises(ValueError, match="a sentence of 9 tokens exceeds 8"):
        batch_source(experiment, CPU)(0)
