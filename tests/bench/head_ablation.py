"""Every head and MLP ablated in four ways, against run_with_hooks, one part after the other."""

from typing import Any

import numpy as np
import torch

import interp
from analyses import HeadAblation
from analyses.circuits.stand_ins import KINDS
from hooks import Snapshot, to_transformer_lens
from hooks.models import restore
from tests.bench import Comparison, interleaved

Z, MLP = "blocks.0.attn.hook_z", "blocks.0.hook_mlp_out"


def compare() -> Comparison:
    """The fixture's last step on all 2,809 pairs, in float64 on both sides."""
    run = interp.load("fixtures/modular-addition")
    parameters = {name: value.double() for name, value in dict(run.parameters(975)).items()}
    model: Any = restore(run.config, run.sizes, parameters)
    theirs = to_transformer_lens(model)
    snapshot = Snapshot.of(model, run.snapshot(975).examples)
    tokens, targets = snapshot.examples.tokens, snapshot.examples.targets[:, -1]
    donors = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))

    def plain() -> np.ndarray:
        with torch.no_grad():
            logits, cache = theirs.run_with_cache(tokens, names_filter=[Z, MLP])
            whole = _loss(logits, targets)
            table = [
                [
                    _loss(theirs.run_with_hooks(tokens, fwd_hooks=[hook]), targets) - whole
                    for hook in _hooks({name: _stand_in(cache[name], kind, donors)
                                        for name in (Z, MLP)})
                ]
                for kind in KINDS
            ]  # fmt: skip
        return np.array(table)

    def ours() -> HeadAblation:
        # On the same examples, with nothing remembered of an earlier call.
        return HeadAblation.measure(snapshot.on(snapshot.examples))

    np.testing.assert_allclose(ours().loss_increase, plain(), rtol=1e-8)
    times = interleaved(plain, ours, repeats=5)
    return Comparison("20 ablations of heads and MLP, 2,809 pairs", *times, goal=2)


def _loss(logits: torch.Tensor, targets: torch.Tensor) -> float:
    return float(torch.nn.functional.cross_entropy(logits[:, -1], targets))


def _stand_in(activation: torch.Tensor, kind: str, donors: torch.Tensor) -> torch.Tensor:
    if kind == "resample":
        return activation[donors]
    mean = {"zero": 0 * activation[0], "mean": activation.mean(0)}
    return mean.get(kind, activation.mean((0, 1))).expand_as(activation)


def _hooks(given: dict[str, torch.Tensor]) -> list[tuple[str, Any]]:
    """A hook for each head, then one for the MLP."""

    def of_head(head: int) -> Any:
        def replace(z: torch.Tensor, hook: Any) -> torch.Tensor:
            z[:, :, head] = given[Z][:, :, head]
            return z

        return replace

    heads = [(Z, of_head(head)) for head in range(given[Z].shape[2])]
    return [*heads, (MLP, lambda activation, hook: given[MLP])]
