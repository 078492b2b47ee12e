"""Mean loss of many models on the same examples, as a function of their parameters.

A model is a point: the row of its trained parameters (`Layout`). All points run as one
(`hooks.fast.stack`); where the loss reads the last position only, so does the forward pass.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks.examples import Examples, token_losses
from hooks.fast.single import Positions
from hooks.fast.stack import Layout, StackedLogits, stacked_logits
from hooks.models import HookedModel, ModelConfig

TOKENS_AT_ONCE = 2**16  # of all models together in one forward pass


@dataclass(frozen=True, eq=False)
class StackedLoss:
    """Cross-entropy in nats of many points, the mean over the scored answers of some examples.

    In float64, whatever the dtype of the points, so that differences of small losses are exact.

    Attributes:
        logits: The forward pass of many models.
        layout: Which parameters make a point, and where each lies.
        fixed: All other parameters by name, `[model, ...]`. Point i has those of model
            i mod n, where n models are given.
        examples: The examples, whose targets are classes.
        positions: The positions whose logits are computed.
    """

    logits: StackedLogits
    layout: Layout
    fixed: Mapping[str, Tensor]
    examples: Examples
    positions: Positions

    @classmethod
    def of(
        cls,
        model: HookedModel,
        config: ModelConfig,
        layout: Layout,
        fixed: Mapping[str, Tensor],
        examples: Examples,
    ) -> "StackedLoss":
        """The loss of models of one kind.

        Args:
            model: A live model of their kind, whose own parameters are not read.
            config: Its config.
            layout: Which of its parameters make a point.
            fixed: The others, `[model, ...]`.
            examples: What they are run on, of classes, at least one of them scored.
        """
        positions: Positions = "all" if examples.scored[:, :-1].any() else "last"
        logits = stacked_logits(model, config, positions)
        return cls(logits, layout, fixed, examples, positions)

    def parts(self, points: int) -> list[Callable[[Tensor], Tensor]]:
        """Functions of the points whose sum is the loss: each of as many examples as fit in memory.

        Args:
            points: How many points are asked for at once.
        """
        count, n_pos = self.examples.model_inputs.shape[:2]
        size = max(1, TOKENS_AT_ONCE // (points * n_pos))
        total = int(self.examples.scored.sum())
        return [
            partial(self._share, rows=rows, total=total) for rows in torch.arange(count).split(size)
        ]

    def drawn(
        self,
        points: Float[Tensor, "point parameter"],
        generators: Sequence[torch.Generator],
        size: int,
    ) -> Float[Tensor, " point"]:
        """The loss of each point on a minibatch, drawn anew, with replacement, for each chain.

        Args:
            points: Those of the first chain, then those of the second, and so on.
            generators: One a chain.
            size: Examples in a minibatch.
        """
        draws = [torch.randint(len(self.examples), (size,), generator=g) for g in generators]
        rows = torch.stack(draws).repeat_interleave(len(points) // len(generators), 0)
        scored = self._answers(self.examples.scored)[rows].to(points.device)
        return self._sums(points, rows) / scored.sum((1, 2)).clamp(min=1)

    def _share(
        self, points: Float[Tensor, "point parameter"], *, rows: Int[Tensor, " row"], total: int
    ) -> Float[Tensor, " point"]:
        """What some examples add to the mean."""
        return self._sums(points, rows) / total

    def _sums(
        self, points: Float[Tensor, "point parameter"], rows: Int[Tensor, "*point row"]
    ) -> Float[Tensor, " point"]:
        """Each point's summed loss on some examples: the same ones for all, or a row a point."""
        device, is_shared = points.device, rows.ndim == 1
        repeats = len(points) // max(len(next(iter(self.fixed.values()), points)), 1)
        fixed = {
            name: value.expand(repeats, *value.shape).flatten(0, 1)
            for name, value in self.fixed.items()
        }
        inputs = self.examples.model_inputs[rows].to(device)
        logits = self.logits(self.layout.split(points) | fixed, inputs, is_shared)
        targets, scored = (
            self._answers(values)[rows].to(device).expand(len(points), -1, -1)
            for values in (self.examples.targets, self.examples.scored)
        )
        logits = logits[:, :, -targets.shape[-1] :, : self.examples.facts.outputs].double()
        return (token_losses(logits, targets) * scored).sum((1, 2))

    def _answers(self, values: Tensor) -> Tensor:
        """Targets, or which of them are scored, at the positions whose logits are computed."""
        return values[:, -1:] if self.positions == "last" else values
