"""Does a network that adds modulo n multiply waves (clock) or average embeddings (pizza)?

Both place residues on circles. A clock's right logit does not depend on the distance a - b, and
gradients by the two embeddings differ; a pizza's fades with the distance, and its logits depend on
E_a + E_b, so that the gradients agree. Three measures: gradient symmetricity, distance
irrelevance, and the circularity of the embedding, beside those of the first snapshot: untrained
networks have the first two near 1.

The published distance irrelevance is of raw logits, and so are the paper's figures. A number added
to all logits of a pair, which softmax ignores, changes it: beside it stands the distance
irrelevance of logits less their mean over classes.

Source: Zhong et al. 2023 (arXiv:2306.17844), and released code (circularity).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.findings import Finding, percent, strength_beside
from analyses.fourier.basis import frequency_power, frequency_shares, residue_embedding
from analyses.fourier.logit_waves import pair_rows
from analyses.plots import bars, heatmap, histogram, words
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, Result
from analyses.statistics import SIZE_FLOOR
from hooks import ModularFacts, Snapshot
from hooks.gradients import logit_gradients
from hooks.messages import at_step

if TYPE_CHECKING:
    import pandas

SCORES: tuple[str, ...] = (
    "gradient_symmetricity",
    "distance_irrelevance",
    "distance_irrelevance_centred",
    "circularity",
)

ERRORS = 3  # standard errors by which symmetricity must lie below the untrained model's
IRRELEVANCE_MARGIN = 0.1  # by which distance irrelevance must lie below the untrained model's
CIRCULARITY_MARGIN = 0.1  # share of a component by which circularity must exceed the control


@dataclass(frozen=True, eq=False)
class ClockPizza(Result):
    """Whether logits follow the operands' sum whatever their distance, and how symmetrically.

    Sum s and difference d are those of the operands in an order in which the operation is
    addition modulo n (`residue_order`): logarithms for multiplication, a and -b for
    subtraction.

    Attributes:
        wave: The wave that fits the operation.
        scores: Gradient symmetricity, distance irrelevance of raw logits and of logits less their
            mean over classes, and circularity, by name.
        first_scores: The same at the first snapshot; NaN where that is not known.
        mean_logit_spread: Standard deviation over pairs of the logits' mean over classes: the shift
            that softmax ignores and raw logits hold.
        correct_logits: The right answer's logit by s and d. For even n half the sums do not occur
            at a difference (NaN), and the others are the mean of two pairs.
        cosines: Cosine between a wrong logit's gradients by the two embeddings, by random triple
            (a, b, wrong class); NaN where one of them vanishes.
        component_shares: By principal component of the embedding (four at most), the share of
            each frequency 1..n//2.
    """

    needs: ClassVar = Needs(
        tokens=True,
        facts={ModularFacts: ("wave", "ordered_pairs")},
        labels=("a", "b", "c"),
        weights=("W_E",),
    )
    title: ClassVar = "Clock or pizza"
    coordinates: ClassVar = {"frequency": "frequencies"}
    reference: ClassVar = "first"
    sliding: ClassVar = ("scores", "correct_logits")

    wave: str
    scores: dict[str, float]
    first_scores: dict[str, float]
    mean_logit_spread: float
    correct_logits: Float[np.ndarray, "sum difference"]
    cosines: Float[np.ndarray, " triple"]
    component_shares: Float[np.ndarray, "component frequency"]

    @classmethod
    def measure(
        cls,
        snapshot: Snapshot,
        *,
        reference: "ClockPizza | None" = None,
        triples: int = 1000,
        seed: int = 0,
    ) -> "ClockPizza":
        """Measures one snapshot on all pairs.

        Args:
            snapshot: A model of modular arithmetic with all its ordered pairs, a and b its first
                two tokens.
            reference: The first snapshot's result, for its scores; a snapshot of step 0 has its
                own.
            triples: Of how many (a, b, wrong class) gradients are taken.
            seed: Of the triples, which are the same at every step.

        Raises:
            ValueError: There are no triples, pairs are missing, or the embedding is not finite.
        """
        if triples < 1:
            raise ValueError(f"triples = {triples}: take one at least")
        embedding = residue_embedding(snapshot)
        if not embedding.isfinite().all():
            raise ValueError(
                f"W_E holds NaN or infinity{at_step(snapshot.step)}: the model has diverged; "
                "measure an earlier step"
            )
        shares = component_shares(embedding)
        (grid, mean), cosines = logit_grids(snapshot), triple_cosines(snapshot, triples, seed)
        scores = {
            "gradient_symmetricity": float(cosines.nanmean()),
            "distance_irrelevance": distance_irrelevance(grid),
            "distance_irrelevance_centred": distance_irrelevance(grid - mean),
            "circularity": float(shares.amax(1).mean()),
        }
        first = scores if snapshot.step == 0 else dict.fromkeys(SCORES, np.nan)
        return cls(
            wave=snapshot.examples.facts(ModularFacts).wave,
            scores=scores,
            first_scores=reference.scores if reference else first,
            mean_logit_spread=float(mean.std(correction=0)),
            correct_logits=by_sum_and_difference(grid).float().numpy(),
            cosines=cosines.numpy(),
            component_shares=shares.numpy(),
        )

    @property
    def frequencies(self) -> Int[np.ndarray, " frequency"]:
        """1, ..., n//2."""
        return np.arange(1, len(self.correct_logits) // 2 + 1)

    @property
    def symmetricity_error(self) -> float:
        """Standard error of gradient symmetricity over the random triples."""
        defined = self.cosines[~np.isnan(self.cosines)]
        return float(defined.std(ddof=1) / np.sqrt(len(defined))) if len(defined) > 1 else np.nan

    def summary(self) -> dict[str, float | str]:
        """The scores, the first snapshot's, the error of symmetricity, and the shift of logits.

        NaN where no gradient is left, all right logits are equal, the embedding is constant, or no
        first snapshot is known.
        """
        return {
            **{name: self.scores[name] for name in SCORES},
            **{f"first_{name}": self.first_scores[name] for name in SCORES},
            "gradient_symmetricity_error": self.symmetricity_error,
            "mean_logit_spread": self.mean_logit_spread,
        }

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """Both scores beside the untrained model's and the paper's two examples; circularity.

        No verdict: see the bands in the documentation.
        """
        given = untrained.scores if isinstance(untrained, ClockPizza) else self.first_scores
        first = {name: given[name] for name in SCORES}
        return (*self._two_scores(first), *self._circles(first["circularity"]))

    def _two_scores(self, first: dict[str, float]) -> tuple[Finding, ...]:
        symmetricity, irrelevance, *_ = (self.scores[name] for name in SCORES)
        first_symmetricity, first_irrelevance, *_ = (first[name] for name in SCORES)
        known = [symmetricity, irrelevance, first_symmetricity, first_irrelevance]
        if np.isnan(known).any():
            return ()
        text = (
            f"Gradient symmetricity is {symmetricity:.2f} and distance irrelevance "
            f"{irrelevance:.2f} (untrained: {first_symmetricity:.2f}, {first_irrelevance:.2f}; "
            "published clock: 0.33, 0.85; pizza: 0.99, 0.17)"
        )
        falls = (
            strength_beside(-symmetricity, -first_symmetricity, margin=self._margin),
            strength_beside(-irrelevance, -first_irrelevance, margin=IRRELEVANCE_MARGIN),
        )
        return (Finding(text, "found" if "found" in falls else "null", figure="scores"),)

    @property
    def _margin(self) -> float:
        """Of symmetricity; 0 where its error is not known."""
        return 0.0 if np.isnan(self.symmetricity_error) else ERRORS * self.symmetricity_error

    @property
    def _beside_first(self) -> str:
        """Both scores of the first snapshot, where they are known."""
        first = [self.first_scores[name] for name in SCORES[:2]]
        return "" if np.isnan(first).any() else f" (first step: {first[0]:.2f}, {first[1]:.2f})"

    def _circles(self, first: float) -> tuple[Finding, ...]:
        circularity = self.scores["circularity"]
        if np.isnan([circularity, first]).any():
            return ()
        text = (
            f"Principal components of the embedding have {percent(circularity)} of their power at "
            f"a single frequency on average (untrained: {percent(first)})"
        )
        strength = strength_beside(circularity, first, margin=CIRCULARITY_MARGIN)
        return (Finding(text, strength, figure="components"),)

    def to_frame(self) -> "pandas.DataFrame":
        """One row a score: `score`, `value`, `first`."""
        import pandas

        return pandas.DataFrame(
            {
                "score": SCORES,
                "value": [self.scores[name] for name in SCORES],
                "first": [self.first_scores[name] for name in SCORES],
            }
        )

    def figures(self) -> Mapping[str, Drawing]:
        """The scores, the right logit by sum and difference, cosines, and components."""
        symmetricity, irrelevance, _, circularity = (self.scores[name] for name in SCORES)
        logits, n = self.correct_logits, len(self.correct_logits)
        is_first_known = not np.isnan([*self.first_scores.values()]).all()
        by_step = {
            **({"first step": self.first_scores} if is_first_known else {}),
            "this step": self.scores,
        }
        return {
            "scores": bars(
                [words(name) for name in SCORES],
                {step: [scores[name] for name in SCORES] for step, scores in by_step.items()},
                title=f"Gradient symmetricity {symmetricity:.2f}, "
                f"distance irrelevance {irrelevance:.2f}{self._beside_first}",
                axes=("", "score (1 at most)"),
            ),
            "correct_logits": heatmap(
                logits,
                unit="logit of the right answer",
                limits=(float(np.fmin.reduce(logits, None)), float(np.fmax.reduce(logits, None))),
                title="The right answer's logit by sum and difference: "
                f"distance irrelevance {irrelevance:.2f}",
                axes=(f"difference d of the operands (mod {n})", f"their sum s (mod {n})"),
            ),
            "cosines": histogram(
                self.cosines[~np.isnan(self.cosines)],
                limits=(-1, 1),
                title=f"Gradients by the two embeddings have cosine {symmetricity:.2f} on average",
                axes=("cosine", "triples (a, b, wrong class)"),
            ),
            "components": bars(
                self.frequencies,
                {f"component {i}": share for i, share in enumerate(self.component_shares, 1)},
                title=f"Principal components of the embedding: {circularity:.0%} in one frequency "
                "on average",
                axes=("frequency (cycles per modulus)", "share of the component"),
            ),
        }


def logit_grids(snapshot: Snapshot) -> Float[Tensor, "grid=2 n n"]:
    """The right answer's logit by a and b, in wave order, and the mean logit over classes.

    Raises:
        ValueError: Pairs are missing among the examples.
    """
    rows = pair_rows(snapshot.examples, "ClockPizza")
    logits = snapshot.logits()[:, -1].double().cpu()
    right = logits.gather(1, snapshot.examples.label("c").cpu()[:, None])[:, 0]
    return torch.stack([right, logits.mean(1)])[:, rows]


def triple_cosines(snapshot: Snapshot, triples: int, seed: int) -> Float[Tensor, " triple"]:
    """`gradient_cosines` of random wrong logits.

    Raises:
        ValueError: The first two tokens are not a and b.
    """
    examples = snapshot.examples
    operands = torch.stack([examples.label("a"), examples.label("b")], dim=1)
    if examples.tokens is None or not torch.equal(examples.tokens[:, :2], operands):
        raise ValueError("ClockPizza reads a and b at the first two positions: tokens differ there")
    rows, classes = random_triples(
        examples.label("c").cpu(), examples.facts(ModularFacts).p, triples, seed
    )
    return gradient_cosines(logit_gradients(snapshot, rows, classes)[:, :2].double().cpu())


def random_triples(
    answers: Int[Tensor, " pair"], n_classes: int, count: int, seed: int
) -> tuple[Int[Tensor, " triple"], Int[Tensor, " triple"]]:
    """Random pairs, and for each a wrong class; all wrong classes are equally likely."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(answers), (count,), generator=generator)
    steps = torch.randint(1, n_classes, (count,), generator=generator)
    return rows, (answers[rows] + steps) % n_classes


def gradient_cosines(
    gradients: Float[Tensor, "triple operand d_model"],
) -> Float[Tensor, " triple"]:
    """Cosine between the gradients by the first and second operand.

    NaN where one is 0, up to rounding beside the largest.

    Source:
        Zhong et al. 2023: gradient symmetricity is their mean over triples.
    """
    norms = gradients.norm(dim=2)
    norms = norms.masked_fill(norms <= SIZE_FLOOR * norms.max(), torch.nan)
    return gradients.prod(1).sum(1) / norms.prod(1)


def by_sum_and_difference(grid: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """A function of two residues by their sum (rows) and difference (columns) modulo n.

    For odd n every cell is one pair. For even n sum and difference have the same parity: a cell is
    the mean of two pairs, or NaN.
    """
    n = len(grid)
    i, j = torch.cartesian_prod(torch.arange(n), torch.arange(n)).T
    place = ((i + j) % n, (i - j) % n)
    total, count = (
        torch.zeros_like(grid).index_put_(place, values, accumulate=True)
        for values in (grid.flatten(), grid.new_ones(()))
    )
    return total / count


def distance_irrelevance(grid: Float[Tensor, "n n"]) -> float:
    """How much of a function's spread is left among pairs of the same difference, in [0, 1].

    The standard deviation over the n pairs of each difference, averaged over differences, over
    that of all pairs (both divide by the number of pairs): 0 for a function of the difference, 1
    for one of the sum if n is odd; NaN for a constant, up to rounding.

    Source:
        Zhong et al. 2023, of raw logits.
    """
    n = len(grid)
    j, d = torch.arange(n)[:, None], torch.arange(n)
    spread = grid.std(correction=0)
    if spread <= SIZE_FLOOR * grid.abs().max():
        return np.nan
    return float(grid[(j + d) % n, j].std(0, correction=0).mean() / spread)


def component_shares(
    embedding: Float[Tensor, "n d_model"], count: int = 4
) -> Float[Tensor, "component frequency"]:
    """Share of each frequency 1, 2, ... in the embedding's first principal components.

    A component is one number a residue. There are fewer than `count` where the embedding has less
    rank: a component below a millionth of its norm is rounding. Components of equal variance are
    mixed arbitrarily: within one frequency that changes nothing, across frequencies it lowers the
    largest share.

    Source:
        Zhong et al. 2023, released code: circularity is the mean of the components' largest shares.
    """
    U, S, _ = torch.linalg.svd(embedding - embedding.mean(0), full_matrices=False)
    rank = int((S / embedding.norm() > 1e-6).sum())
    if rank == 0:
        return embedding.new_zeros(0, len(embedding) // 2)
    return frequency_shares(frequency_power(U.T[: min(count, rank), :, None]))
