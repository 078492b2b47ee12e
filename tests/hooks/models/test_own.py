"""What a model of the user's own must be, to be what its checkpoints say."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hooks import Sizes, build
from hooks.hook_points import HookedRootModule, HookPoint
from hooks.models import OwnConfig, parameters_of, restore

SIZES = Sizes(d_in=3, d_vocab_out=2, n_ctx=4)


class Normed(OwnConfig):
    """One layer behind a norm over the batch."""

    n_layers: int = 1
    keeps_statistics: bool = True

    def build(self, sizes: Sizes, dtype: torch.dtype) -> "NormedNetwork":
        return NormedNetwork(self, sizes, dtype)


class NormedNetwork(HookedRootModule):
    def __init__(self, config: Normed, sizes: Sizes, dtype: torch.dtype) -> None:
        super().__init__()
        self.cfg = SimpleNamespace(
            **sizes.model_dump(), config=config, n_layers=config.n_layers, device="cpu"
        )
        norm = nn.BatchNorm1d(sizes.n_ctx, dtype=dtype, track_running_stats=config.keeps_statistics)
        self.block = nn.Sequential(norm, nn.Linear(3, 2, dtype=dtype))
        self.hook_in = HookPoint()
        self.setup()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.block(self.hook_in(inputs))


REFUSED = r"the model's block\.0 \(BatchNorm1d\) keeps running statistics, .*LayerNorm"


def test_running_statistics_are_refused_since_checkpoints_lack_them():
    with pytest.raises(ValueError, match=REFUSED):
        build(Normed(), SIZES, seed=0)
    parameters = parameters_of(build(Normed(keeps_statistics=False), SIZES, seed=0))
    with pytest.raises(ValueError, match=REFUSED):
        restore(Normed(), SIZES, parameters)


def test_a_norm_of_each_batch_alone_is_restored_with_its_logits():
    config, inputs = Normed(keeps_statistics=False), torch.randn(5, 4, 3)
    model = build(config, SIZES, seed=0)
    again = restore(config, SIZES, parameters_of(model))
    assert torch.equal(model(inputs), again(inputs))


def test_a_model_that_says_nothing_may_see_later_positions():
    assert Normed().attention_dir == "bidirectional"
