"""1,024 networks 20-32-1 trained together against one at a time: parity of 3 of 20 bits."""

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from interp.config.experiment import Experiment
from interp.config.training import Seeds
from interp.sweeps.groups import STACK_ON_CPU
from interp.training.device import prepare_process
from interp.training.stack_step import StackStepper, assembled
from interp.training.state import fresh
from tests.bench import Comparison, interleaved

MODELS, STEPS, CPU = 1024, 60, torch.device("cpu")
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


def steppers(*, own_data: bool) -> list[StackStepper]:
    """All networks, in stacks as a sweep makes them; initial weights and orders differ."""
    first = Experiment.model_validate(TABLE)
    experiments = [
        first.model_copy(
            update={"seeds": Seeds(model=seed, data=seed if own_data else 0, order=seed)}
        )
        for seed in range(MODELS)
    ]
    stacks = [experiments[start : start + STACK_ON_CPU] for start in range(0, MODELS, STACK_ON_CPU)]
    return [StackStepper(assembled(stack, [fresh(e) for e in stack], CPU)) for stack in stacks]


def compare(*, own_data: bool = False) -> Comparison:
    """Plain: 1,024 updates of one network. Ours: an update of 1,024, the mean of four epochs."""
    stacks = steppers(own_data=own_data)

    def ours() -> None:
        for stack in stacks:
            stack.advance(stack.step + STEPS)

    plain, of_epochs = interleaved(plain_training, ours, repeats=5)
    name = f"1,024 networks 20-32-1, {'own' if own_data else 'shared'} data, an update of each"
    return Comparison(name, plain, of_epochs / STEPS, goal=None if own_data else 10)


def compare_own_data() -> Comparison:
    """The same where each network has its own data, 80 MB in all, which no cache holds."""
    return compare(own_data=True)


if __name__ == "__main__":
    prepare_process()
    for found in (compare(), compare_own_data()):
        print(found, found.ratio)
