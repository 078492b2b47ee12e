"""The simple function task: one linear function per prompt, whose inputs are probed for.

The functions are the dense linear ones of `function_classes`, but their values w x are not scaled.
The labels `x_0`, `x_1`, .. are the numbers of each prompt's last input. How well they can be read
off the representation of that input alone, without its context, is the weights component; it is an
error, so that lower is better.

Source: Fu et al. 2024 (arXiv:2309.06054), the simple function task, as far as it is known to us: w
and x are Gaussian, y = w x, and the dimension is swept to beyond 30. Model, steps and the probe's
layer are not known. We choose 10 to 50 numbers, prompts of 41 pairs and no curriculum, since a
curriculum would hide the plateau.
"""

from typing import Literal

from jaxtyping import Float, Int
from pydantic import field_validator
from torch import Generator, Tensor

from hooks import Examples, Facts, FunctionFacts, LinearPrior, PromptFacts, Sizes
from interp.randomness import generator
from interp.tasks.base import Batch, scored_mean
from interp.tasks.factors.extra_loss import SIDE, ExtraLoss, at_queries
from interp.tasks.fields import Count, Scale, TwoOrMore
from interp.tasks.functions.families import Dense, InputLaw
from interp.tasks.functions.regression import RegressionTask, prompts, with_queries


class SimpleFunction(RegressionTask):
    """y = w x, with w and x drawn anew for every prompt.

    Attributes:
        d: How many numbers an input has.
        pairs: How many pairs a prompt has.
        unit_variance: Whether w is divided by sqrt(d), so that y has variance 1.
        test_prompts: Number of prompts in the split `test`.
        extra_loss: With `weights`, spare outputs are trained to give each input back.
        extra_weight: What that further loss, a squared error, is multiplied by.
    """

    name: Literal["simple_function"] = "simple_function"  # pyright: ignore[reportIncompatibleVariableOverride]  # frozen: may narrow
    d: Count = 20
    pairs: TwoOrMore = 41
    unit_variance: bool = False
    test_prompts: Count = 1280
    extra_loss: ExtraLoss | None = None
    extra_weight: Scale = 0.1

    @field_validator("extra_loss")
    @classmethod
    def _has_one_question(cls, value: str | None) -> str | None:
        if value == "context":
            raise ValueError('all prompts ask the same; take "weights"')
        return value

    @property
    def sizes(self) -> Sizes:
        """D numbers as input, one number and spare ones as output, two positions for each pair."""
        spare = self.d if self.extra_loss else 0
        return Sizes(d_in=self.d, d_vocab_out=1 + spare, n_ctx=2 * self.pairs)

    @property
    def facts(self) -> Facts:
        """`PromptFacts`, whose factors are the numbers of an input, and `FunctionFacts`."""
        prior = LinearPrior(nnz=self.d, scale=self.d**-0.5 if self.unit_variance else 1.0)
        return Facts(
            outputs=1,
            groups=(
                PromptFacts(self.pairs, factors=tuple(f"x_{i}" for i in range(self.d))),
                FunctionFacts(self.d, prior=(prior,)),
            ),
        )

    def data(self, count: int | None, generator: Generator) -> Batch:
        """Prompts, drawn on the generator's device.

        Raises:
            ValueError: No count is given, and there is no whole training set.
        """
        return self._prompts(self.count_to_draw(count), generator)

    def _prompts(
        self, count: int, generator: Generator, queries: Int[Tensor, " prompt"] | None = None
    ) -> Batch:
        x = InputLaw().draw((count, self.pairs, self.d), generator)
        x = with_queries(x, queries)
        y = Dense().draw(x, generator)
        batch = prompts(x, y / self.d**0.5 if self.unit_variance else y)
        return batch | ({SIDE: at_queries(x)} if self.extra_loss else {})

    def loss(self, logits: Float[Tensor, "batch position d_vocab_out"], batch: Batch) -> Tensor:
        """Mean squared error of the answers; in training, plus that of the spare outputs. Pure."""
        loss = super().loss(logits[..., :1], batch)
        if SIDE not in batch:
            return loss
        squares = (logits[..., 1:] - batch[SIDE]).square().mean(-1)
        return loss + self.extra_weight * scored_mean(squares, batch)

    def grade(
        self, logits: Float[Tensor, "batch position d_vocab_out"], batch: Batch
    ) -> dict[str, Tensor]:
        """Errors of the answers alone, without the spare outputs."""
        return super().grade(logits[..., :1], batch)

    def examples(self, split: str, count: int | None, seed: int) -> Examples:
        """Prompts with the labels `x_0` .. of their last input."""
        return super().examples(split, count, seed)

    def _shown(
        self, split: str, seed: int, queries: Int[Tensor, " prompt"] | None = None
    ) -> Examples:
        batch = self._prompts(self.test_prompts, generator(seed, 1, 1, 0), queries)
        return Examples(
            targets=batch["targets"],
            scored=batch["scored"],
            inputs=batch["inputs"],
            labels={f"x_{i}": batch["inputs"][:, -2, i] for i in range(self.d)},
            facts=self.facts,
        )
