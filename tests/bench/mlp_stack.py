"""1,024 networks 20-32-1 trained together against one at a time: parity of 3 of 20 bits."""

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from interp.experiment import Experiment
from interp.groups import ON_CPU
from interp.stacked import Stepper, assembled
from interp.state import fresh
from tests.bench import Comparison, interleaved

MODELS, STEPS, CPU = 1024, 15, torch.device("cpu")
TABLE = {
    "name": "networks",
    "task": {"name": "bit_parity", "n": 20, "train_sequences": 960, "bias": False},
    "model": {"kind": "mlp", "d_mlp": 32, "collapsed_in": True, "collapsed_out": True,
              "bias_in": True, "bias_out": True, "one_logit": True},
    "training": {"steps": 10_000, "weight_decay": 0.1, "batch_size": 64,
                 "loss_dtype": "float32"},
}  # fmt: skip


def plain_training() -> nn.Module:
    """One network as anyone would train it, as many updates as ours make in all."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1, fused=True)
    inputs = torch.randint(2, (960, 20), generator=generator).float()
    targets = inputs[:, :3].sum(1) % 2
    for _ in range(MODELS):
        rows = torch.randint(960, (64,), generator=generator)
        loss = binary_cross_entropy_with_logits(model(inputs[rows])[:, 0], targets[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def steppers() -> list[Stepper]:
    """All networks, in stacks as a sweep makes them."""
    first = Experiment.model_validate(TABLE)
    experiments = [first.with_seed(seed) for seed in range(MODELS)]
    stacks = [experiments[start : start + ON_CPU] for start in range(0, MODELS, ON_CPU)]
    return [Stepper(assembled(stack, [fresh(e) for e in stack], CPU)) for stack in stacks]


def compare() -> Comparison:
    """Plain: 1,024 updates of one network. Ours: an update of 1,024, of epochs of 15 the mean."""
    stacks = steppers()

    def ours() -> None:
        for stack in stacks:
            stack.advance(stack.step + STEPS)

    plain, of_epoch = interleaved(plain_training, ours, repeats=7)
    name = "1,024 networks 20-32-1, an update of each"
    return Comparison(name, plain, of_epoch / STEPS, goal=10)


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = compare()
    print(found, found.ratio)
