"""Replicas of a stack are scored where they are, and never more at once than memory allows."""

import pytest
import torch

from hooks import Snapshot
from hooks.fast.stack import stacked_logits
from hooks.models import restore
from interp.tasks.modular_arithmetic import ModularArithmetic
from interp.training import stack_step as module
from interp.training.stack_step import DataCache, assembled, stack_scores
from interp.training.state import fresh
from tests.interp.training.recorders import CPU
from tests.interp.training.stacks import replicas


class Drawing(ModularArithmetic):
    """Scored by a number of its own; counts how often examples are drawn."""

    def score(self, snapshot: Snapshot) -> dict[str, float]:
        DEVICES.add(next(iter(snapshot.parameters().values())).device)
        return {"mean": float(snapshot.logits().double().mean())}

    def examples(self, split, count, seed):
        DRAWN.append((split, seed))
        return super().examples(split, count, seed)


DRAWN: list[tuple[str, int]] = []
DEVICES: set[torch.device] = set()


def parts_of(experiments):
    return assembled(experiments, [fresh(each) for each in experiments], CPU)


def drawing(count):
    task = Drawing(p=7, train_fraction=0.5)
    return [each.model_copy(update={"task": task}) for each in replicas(count)]


def test_a_score_of_a_tasks_own_is_that_of_each_replica_alone():
    experiments = drawing(3)
    for row, each in zip(
        stack_scores(parts_of(experiments), DataCache())(), experiments, strict=True
    ):
        model = restore(each.model, each.task.sizes, fresh(each).parameters)
        for split in each.task.evaluated:
            snapshot = Snapshot.of(model, each.task.examples(split, None, each.seeds.data))
            assert row[f"{split}.mean"] == float(snapshot.logits().double().mean())


def test_a_tasks_own_score_has_its_examples_drawn_once():
    DRAWN.clear()
    parts, drawn = parts_of(drawing(2)), DataCache()
    for _ in range(2):  # a stack that is made anew asks for the same
        scores = stack_scores(parts, drawn)
        scores()
        scores()
    assert len(DRAWN) == len(set(DRAWN)) == 4


@pytest.mark.parametrize("limit", [1, 5_000, 20_000])
def test_a_forward_pass_holds_no_more_activations_than_allowed(limit, monkeypatch):
    sizes = []

    def noted(*told):
        forward = stacked_logits(*told)

        def run(parameters, inputs, is_shared):
            sizes.append(inputs.numel() // (1 if is_shared else len(inputs)) * 3 * WIDEST)
            return forward(parameters, inputs, is_shared)

        return run

    experiments = replicas(3)
    whole = stack_scores(parts_of(experiments), DataCache())()
    monkeypatch.setattr(module, "stacked_logits", noted)
    monkeypatch.setattr(module, "MAX_ACTIVATIONS", limit)
    pieces = stack_scores(parts_of(experiments), DataCache())()
    assert max(sizes) <= max(limit, 3 * 3 * WIDEST)  # a row at least: three tokens, three replicas
    for mine, other in zip(pieces, whole, strict=True):
        assert mine == pytest.approx(other, rel=1e-12)


WIDEST = max(max(value.shape, default=1) for value in fresh(replicas(1)[0]).parameters.values())
