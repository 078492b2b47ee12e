"""What holds on a GPU; skipped, and saying so, where there is none."""

import pytest
import torch
from torch.testing import assert_close

from interp.stack import train_stack
from interp.stacked import Stepper, assembled
from interp.state import fresh, keep
from interp.train import train
from tests.interp.stacks import dropping, folders, members, rows_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nothing here was checked"),
]
CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def stepper_on(device, experiments) -> Stepper:
    return Stepper(assembled(experiments, [fresh(each) for each in experiments], device))


@pytest.mark.parametrize("options", [{}, {"batch_size": 10}], ids=["whole", "minibatches"])
def test_a_captured_stack_has_the_losses_of_the_cpu(options):
    experiments = members(**options)
    there, here = stepper_on(CUDA, experiments), stepper_on(CPU, experiments)
    there.advance(100)
    here.advance(100)
    assert there.is_captured
    assert_close(there.losses[:100].cpu(), here.losses[:100], rtol=0, atol=1e-9)


def test_a_captured_step_is_the_eager_one(monkeypatch):
    graph = stepper_on(CUDA, members())
    graph.advance(50)
    monkeypatch.setattr("interp.stacked.captured", lambda step, changed: None)
    eager = stepper_on(CUDA, members())
    eager.advance(50)
    assert (graph.is_captured, eager.is_captured) == (True, False)
    assert_close(graph.losses[:50], eager.losses[:50], rtol=0, atol=1e-12)


def test_a_captured_stack_drops_the_same_neurons_again():
    first, again = (stepper_on(CUDA, [dropping(0), dropping(1)]) for _ in range(2))
    first.advance(10)
    torch.randn(3, device=CUDA)  # another draw moves the device's generator
    again.advance(10)
    assert (first.is_captured, again.is_captured) == (True, True)
    assert_close(first.losses[:10], again.losses[:10], rtol=0, atol=1e-6)


def test_a_step_that_cannot_be_captured_runs_eagerly(monkeypatch):
    def refuse(step):
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr("interp.capture._capture", refuse)
    stepper = stepper_on(CUDA, members())
    with pytest.warns(UserWarning, match="not captured .operation not permitted"):
        stepper.advance(3)
    assert not stepper.is_captured


def test_a_model_alone_has_the_metrics_of_the_cpu(tmp_path):
    [experiment] = members(1, steps=100)
    there = train(experiment, tmp_path / "there", device="cuda")
    here = train(experiment, tmp_path / "here", device="cpu")
    for mine, other in zip(rows_of(there), rows_of(here), strict=True):
        assert mine == pytest.approx(other, rel=1e-9, abs=1e-9)


class KilledError(Exception):
    """The process ends here."""


def test_a_killed_stack_goes_on(tmp_path, monkeypatch):
    experiments = members(steps=40, evaluate={"every": 10}, checkpoints={"every": 10})
    whole = train_stack(folders(experiments, tmp_path / "whole"), device="cuda")
    left = [7]

    def keep_or_die(run, state):
        left[0] -= 1
        if left[0] < 0:
            raise KilledError
        keep(run, state)

    monkeypatch.setattr("interp.stack.keep", keep_or_die)
    broken = folders(experiments, tmp_path / "broken")
    with pytest.raises(KilledError):
        train_stack(broken, device="cuda")
    monkeypatch.undo()
    for mine, other in zip(train_stack(broken, device="cuda"), whole, strict=True):
        assert_close(dict(mine.parameters(40)), dict(other.parameters(40)), rtol=0, atol=1e-9)
