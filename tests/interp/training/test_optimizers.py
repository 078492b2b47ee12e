import pytest
import torch
from torch.testing import assert_close

from interp.config.training import Training
from interp.training.optimizers import MOMENTS, LoneOptimizer, StackOptimizer, clip_and_penalise

RATES = (0.1, 0.01, 0.3)
OPTIONS = {
    "adamw": [{"weight_decay": 0.5}, {"betas": (0.5, 0.9)}, {"eps": 1e-3, "weight_decay": 0.1}],
    "adam": [{"weight_decay": 0.5}, {"betas": (0.5, 0.9)}, {"eps": 1e-3, "weight_decay": 0.1}],
    "sgd": [{"weight_decay": 0.5}, {"momentum": 0.9}, {"momentum": 0.5}],
}


def trainings(name) -> list[Training]:
    return [
        Training(steps=9, optimizer=name, lr=lr, **options)
        for lr, options in zip(RATES, OPTIONS[name], strict=True)
    ]


def torchs(parameters, training) -> torch.optim.Optimizer:
    """The optimiser class of torch's that a training names."""
    lr, decay = training.lr, training.weight_decay
    if training.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr, training.momentum, weight_decay=decay)
    classes = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
    return classes[training.optimizer](
        parameters, lr=lr, betas=training.betas, eps=training.eps, weight_decay=decay
    )


def stack_of(replicas, weights) -> StackOptimizer:
    moments = {name: torch.zeros_like(weights) for name in MOMENTS[replicas[0].optimizer]}
    return StackOptimizer.of(weights.requires_grad_(), replicas, moments, step=0)


def drawn(*shape) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.double)


@pytest.mark.parametrize("name", OPTIONS)
def test_each_row_moves_as_by_torchs_own_optimizer(name):
    replicas, weights, gradients = trainings(name), drawn(3, 5), drawn(9, 3, 5)
    expected = []
    for row, training in enumerate(replicas):
        alone = weights[row].clone().requires_grad_()
        optimizer = torchs([alone], training)
        for gradient in gradients:
            alone.grad = gradient[row].clone()
            optimizer.step()
        expected.append(alone.detach())
    stack, lr = stack_of(replicas, weights), torch.tensor(RATES, dtype=torch.double)[:, None]
    for gradient in gradients:
        stack.update(weights, gradient.clone(), lr)
    assert_close(weights.detach(), torch.stack(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("name", OPTIONS)
def test_a_lone_model_moves_as_by_torchs_own_optimizer(name, momentum):
    options = {"momentum": momentum} if name == "sgd" else {}
    training = Training(steps=9, optimizer=name, lr=0.1, weight_decay=0.3, **options)
    theirs, ours = (drawn(3, 5).requires_grad_() for _ in range(2))
    reference, optimizer = torchs([theirs], training), LoneOptimizer({"ours": ours}, training)
    for gradient in drawn(9, 3, 5):
        theirs.grad, ours.grad = gradient.clone(), gradient.clone()
        reference.step()
        optimizer.update(0.1)
    assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_what_has_no_gradient_stays_and_remembers_nothing():
    used, unused = drawn(3).requires_grad_(), drawn(3).requires_grad_()
    optimizer = LoneOptimizer({"used": used, "unused": unused}, Training(steps=1, lr=0.1))
    used.grad = torch.ones(3, dtype=torch.double)
    optimizer.update(0.1)
    assert torch.equal(unused, drawn(3))
    assert list(optimizer.moments["exp_avg"]) == ["used"]


@pytest.mark.parametrize("name", ["adamw", "adam"])
def test_replicas_that_share_all_options_move_as_those_that_do_not(name):
    same = Training(steps=9, optimizer=name, lr=0.1, weight_decay=0.3, l1=0.01, grad_clip=2.0)
    other = same.model_copy(update={"eps": 2e-8})
    weights, gradients = drawn(3, 5), drawn(9, 3, 5)
    mixed = torch.cat([weights, weights[:1]])
    alike, unlike = stack_of([same] * 3, weights), stack_of([same] * 3 + [other], mixed)
    for gradient in gradients:
        lr = torch.full((4, 1), 0.1, dtype=torch.double)
        alike.update(weights, gradient.clone(), lr[:3])
        unlike.update(mixed, torch.cat([gradient, gradient[:1]]), lr)
    assert (alike.fused is None, unlike.fused is None) == (False, True)
    assert_close(weights.detach(), mixed.detach()[:3], rtol=1e-12, atol=1e-12)


def one_update(gradient, **options) -> torch.Tensor:
    """A weight (2, -1) after one update by a model's own optimiser and by a stack's."""
    training = Training(steps=1, lr=0.1, **options)
    alone = torch.tensor([2.0, -1.0], dtype=torch.double, requires_grad=True)
    alone.grad = torch.tensor(gradient, dtype=torch.double)
    weights, lr = alone.detach().clone()[None], torch.full((1, 1), 0.1, dtype=torch.double)
    stack = stack_of([training], weights)
    stack.update(weights, torch.tensor([gradient], dtype=torch.double), lr)
    clip_and_penalise([alone], training, lr=0.1)
    LoneOptimizer({"alone": alone}, training).update(0.1)
    assert_close(weights.detach()[0], alone.detach())
    return weights.detach()[0]


def test_sgd_takes_lr_times_the_gradient():
    assert one_update([1.0, 2.0], optimizer="sgd").tolist() == pytest.approx([1.9, -1.2])


def test_sgds_l1_pulls_by_lr_times_its_coefficient():
    moved = one_update([0.0, 0.0], optimizer="sgd", l1=0.5)
    assert moved.tolist() == pytest.approx([1.95, -0.95])


def test_adamws_l1_pulls_by_lr_times_its_coefficient():
    moved = one_update([0.0, 0.0], l1=0.5)
    assert moved.tolist() == pytest.approx([1.95, -0.95])


def test_adams_l1_is_part_of_the_gradient_and_so_normalised():
    moved = one_update([0.0, 0.0], optimizer="adam", l1=0.5)
    assert moved.tolist() == pytest.approx([1.9, -0.9])


def test_a_gradient_over_the_clip_is_shortened_to_it():
    moved = one_update([3.0, 4.0], optimizer="sgd", grad_clip=1.0)
    assert moved.tolist() == pytest.approx([2 - 0.06, -1 - 0.08], rel=1e-6)


def test_a_gradient_under_the_clip_is_left_alone():
    moved = one_update([3.0, 4.0], optimizer="sgd", grad_clip=6.0)
    assert moved.tolist() == pytest.approx([1.7, -1.4])


def test_the_penalty_is_not_clipped():
    moved = one_update([0.0, 0.0], optimizer="sgd", weight_decay=100.0, grad_clip=1e-3)
    assert moved.tolist() == pytest.approx([-18.0, 9.0])
