"""Is a model's computation shaped like a tree, and like the right one?

A span of words is invariant to its context (SCI) as far as the sum of its states is the same in
the sentence and cut off from it. From each sentence a tree is projected whose spans are: by the
paper's greedy method, unless another is asked for. Its tscore is how much more the tree is worth
than chance; its tparseval is the F1 of its brackets and the gold tree's, which stands beside the F1
of trees made without a model.

Source: Murty et al. 2023 (arXiv:2211.01288; arXiv:2305.18741 for language models). Where text and
code of the second differ we follow the code, unless `against` says otherwise.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float, Int, Shaped
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from analyses import plots
from analyses.findings import Finding, Strength, percent, strength_beside
from analyses.requirements import Needs
from analyses.result import BaseResult, Drawing, Drawings, Result
from analyses.statistics import defined_mean
from analyses.trees.brackets import Span, to_brackets, tree_graph
from analyses.trees.drawings import TwoTrees, side_by_side
from analyses.trees.parseval import baseline_f1, baseline_matches, bracketing_f1
from analyses.trees.sci import (
    METHODS,
    Against,
    Method,
    ProjectionOptions,
    Similarity,
    projections,
)
from analyses.trees.sentences import entries_of, sentence_table, short_sentences
from hooks import Snapshot

if TYPE_CHECKING:
    import pandas

MAX_DRAWN = 3  # sentences whose trees are drawn
MAX_DRAWN_WORDS = 24  # of such a sentence: a drawing has room for no more
ERRORS = 2  # standard errors over sentences by which a score must lie above its control
NAMES = {"greedy": "greedy", "cky": "CKY", "cky_centred": "centred CKY"}
LONGEST = 64  # words of a sentence that is measured


def layer_or_all(threshold: Any) -> Any:
    """A threshold as it is: the first layer in which attention is cut, or "all" for each in turn.

    Raises:
        ValueError: It is neither the number of a layer nor "all".
    """
    if threshold != "all" and (type(threshold) is not int or threshold < 0):
        raise PydanticCustomError(
            "threshold",
            "take a layer (0 or more) or 'all' as threshold, not {came}",
            {"came": repr(threshold)},
        )
    return threshold


Threshold = Annotated[int | Literal["all"], BeforeValidator(layer_or_all)]


@dataclass(frozen=True, eq=False)
class TreeProjection(Result):
    """Trees projected from sentences, beside their gold trees.

    Brackets are spans (start, stop) of two words or more, counted from the sentence's first word.

    Attributes:
        vocabulary: Words that occur.
        words: Words of all sentences by number, one sentence after the other.
        lengths: Words of each sentence.
        gold: Brackets of the gold trees, one sentence after the other.
        gold_counts: How many of them each sentence has.
        thresholds: Layers from which attention was cut; the first is the headline's.
        spans: Brackets of the projected trees, of each sentence one fewer than it has words.
        values: What the tree of each method is worth: its nodes' SCI, the root's left out.
        matches: How many of its brackets are gold.
        undecided: Of its brackets of three words or more, the share whose splits are all worth the
            same, so that the first is taken; NaN where it has none.
        chance: The chance level that the projected tree's value is compared with.
        method: Whose trees `spans` and `chance` are of.
        similarity: How spans in context and cut off are compared.
        against: What `chance` is.
        left_out: How many sentences were left out because they are long.
    """

    needs: ClassVar = Needs(tokens=True, attention=True, trees=True)
    splits: ClassVar = (None, "generalization", "train_questions")
    count: ClassVar = 500
    sliding: ClassVar = ("trees", "f1")
    coordinates: ClassVar = {"method": METHODS, "end": ("start", "stop")}

    vocabulary: tuple[str, ...]
    words: Int[np.ndarray, " word"]
    lengths: Int[np.ndarray, " sentence"]
    gold: Int[np.ndarray, "bracket end=2"]
    gold_counts: Int[np.ndarray, " sentence"]
    thresholds: tuple[int, ...]
    spans: Int[np.ndarray, "threshold span end=2"]
    values: Float[np.ndarray, "method threshold sentence"]
    matches: Int[np.ndarray, "method threshold sentence"]
    undecided: Float[np.ndarray, "method threshold sentence"]
    chance: Float[np.ndarray, "threshold sentence"]
    method: str
    similarity: str
    against: str
    left_out: int

    @classmethod
    def measure(
        cls,
        snapshot: Snapshot,
        *,
        threshold: Threshold = 0,
        method: Method = "greedy",
        similarity: Similarity = "cosine",
        against: Against = "mean_split",
        longest: int = LONGEST,
        seed: int = 0,
    ) -> "TreeProjection":
        """Measures one snapshot on the sentences that its examples' gold trees are over.

        Args:
            snapshot: A transformer; n words cost n passes if causal, n^2 / 2 if bidirectional.
            threshold: The first layer in which spans are cut off; "all" for each in turn.
            method: greedy; cky, the tree worth most, which in a causal model always branches to
                the left; cky_centred, the same on charts less the mean of spans with one start.
            similarity: cosine, or euclidean (minus the distance).
            against: mean_split, the mean over the splits of the tree's own nodes; random_split,
                one of these splits; random_tree, the mean over trees split at random.
            longest: Most words of a sentence; longer ones are left out (the shortest never are).
            seed: Of random splits.

        Raises:
            ValueError: An option takes no such value, or the model has no such layer.
        """
        layer_or_all(threshold)
        layers = tuple(range(snapshot.config.n_layers)) if threshold == "all" else (threshold,)
        examples = short_sentences(snapshot.examples, longest)
        options = ProjectionOptions(layers, method, similarity, against, seed)
        arrays: dict[str, Any] = {
            name: tensor.numpy()
            for name, tensor in projections(snapshot.on(examples), options).items()
        }
        return cls(
            **sentence_table(examples),
            **arrays,
            left_out=len(snapshot.examples) - len(examples),
            thresholds=layers,
            method=method,
            similarity=similarity,
            against=against,
        )

    @property
    def scores(self) -> Float[np.ndarray, "threshold sentence"]:
        """How much more projected trees are worth than chance."""
        return self.values[METHODS.index(self.method)] - self.chance

    @property
    def tscore(self) -> float:
        """Their mean over sentences at the headline's threshold."""
        return float(self.scores[0].mean())

    def f1(self, method: str | None = None, threshold: int | None = None) -> float:
        """F1 of a method's brackets over all sentences.

        NaN where none has two words, or where no bracket was decided by the model: trees of splits
        that are all worth the same branch to the right, whatever the words are.

        Args:
            method: By default the one that was asked for.
            threshold: By default the headline's.

        Raises:
            ValueError: There is no such method, or the threshold was not measured.
        """
        if self.undecided_share(method, threshold) == 1:
            return np.nan
        matches = self.matches[self._place(method, threshold)].sum()
        return bracketing_f1(int(matches), int((self.lengths - 1).sum()), len(self.gold))

    def undecided_share(self, method: str | None = None, threshold: int | None = None) -> float:
        """Mean over sentences of `undecided`; NaN where no sentence has three words.

        Args:
            method: By default the one that was asked for.
            threshold: By default the headline's.

        Raises:
            ValueError: There is no such method, or the threshold was not measured.
        """
        return defined_mean(self.undecided[self._place(method, threshold)])

    def baselines(self) -> dict[str, float]:
        """F1 of trees that know nothing: of three shapes, and the mean over random trees."""
        return baseline_f1(self._golds(), self.lengths.tolist())

    def findings(self, untrained: BaseResult | None = None) -> tuple[Finding, ...]:
        """How many brackets are gold, beside baselines and other methods; worth beside untrained.

        Gold brackets are found where the F1 lies above that of every tree that knows nothing, and
        of the untrained model, by two standard errors of the difference over sentences, and where
        one of the exact trees (CKY), which are worth most, lies above random trees too. They are
        not found where none does, and null where a control is as high. What trees are worth is only
        said beside the untrained model: each split is the best, so that it exceeds chance anyway.
        """
        control = untrained if isinstance(untrained, TreeProjection) else None
        if control is not None and not self._is_comparable(control):
            control = None
        gold = () if np.isnan(self.f1()) else (self._gold_finding(control),)
        if self.undecided_share() == 1:
            gold = (
                Finding("The model decides no bracket: splits are worth the same", "not found"),
            )
        return gold + (() if control is None else (self._worth_finding(control),))

    def _is_comparable(self, other: "TreeProjection") -> bool:
        """Whether another result is of the same sentences, by the same rule."""
        return self._rule == other._rule and np.array_equal(self.lengths, other.lengths)

    def _gold_finding(self, untrained: "TreeProjection | None") -> Finding:
        """The share of gold brackets."""
        matches = self._headline_matches
        controls = {
            name: self._lead(matches - known)
            for name, known in baseline_matches(self._golds(), self.lengths.tolist()).items()
        }
        if untrained is not None and not np.isnan(untrained.f1()):
            controls["untrained"] = self._lead(matches - untrained._headline_matches)
        is_above = all(lead > ERRORS * error for lead, error in controls.values())
        strength: Strength = "found" if self._exact_is_above else "not found"
        strength = strength if is_above else "null"
        return Finding(self._gold_in_words(untrained), strength, "f1")

    def _gold_in_words(self, untrained: "TreeProjection | None" = None) -> str:
        """The share of gold brackets beside baselines and the other methods."""
        known = self.baselines()
        shape = max(list(known)[:3], key=known.__getitem__)
        controls = {"random trees": known["random"], plots.words(shape): known[shape]}
        if untrained is not None and not np.isnan(untrained.f1()):
            controls["untrained"] = untrained.f1()
        others = {NAMES[name]: self.f1(name) for name in METHODS if name != self.method}
        shown = [f"{name} {_share(value)}" for name, value in others.items() if value == value]
        below = [value < known["random"] for value in others.values() if value == value]
        but, tail = (", but ", ", below random") if below and all(below) else (", ", "")
        listed = f"{but}{' and '.join(shown)}{tail}" if shown else ""
        beside = ", ".join(f"{name} {_share(value)}" for name, value in controls.items())
        name = NAMES[self.method][0].upper() + NAMES[self.method][1:]
        return f"{name} trees share {_share(self.f1())} of brackets with gold ({beside}){listed}"

    @property
    def _exact_is_above(self) -> bool:
        """Whether the exact trees of one kind share more brackets with gold than random ones do."""
        random = self.baselines()["random"]
        return any(self.f1(method) > random for method in METHODS[1:])

    def _worth_finding(self, untrained: "TreeProjection") -> Finding:
        """What trees are worth above chance, beside the untrained model on the same sentences."""
        lead, error = self._lead(self.scores[0] - untrained.scores[0])
        text = (
            f"Trees are worth {self.tscore:.2f} more than chance splits (summed similarity), the "
            f"untrained model's {untrained.tscore:.2f}"
        )
        return Finding(text, strength_beside(lead, 0, margin=ERRORS * error), "trees")

    def _lead(self, difference: Shaped[np.ndarray, " sentence"]) -> tuple[float, float]:
        """The mean over sentences of a difference in gold brackets, and its standard error."""
        if len(difference) < 2:
            return float(difference.mean()), np.inf
        return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))

    @property
    def _headline_matches(self) -> Int[np.ndarray, " sentence"]:
        """Gold brackets of the projected trees at the headline's threshold."""
        return self.matches[self._place(None, None)]

    @property
    def _rule(self) -> str:
        """How trees are projected and scored."""
        return f"{self.method}, {self.similarity}, against {self.against}"

    def _golds(self) -> list[list[Span]]:
        """The gold brackets of all sentences."""
        return [self.gold_brackets(number) for number in range(len(self.lengths))]

    def sentence(self, number: int) -> tuple[str, ...]:
        """The words of a sentence."""
        return tuple(self.vocabulary[word] for word in entries_of(self.words, self.lengths, number))

    def gold_brackets(self, number: int) -> list[Span]:
        """The brackets of a sentence's gold tree, each before those inside it."""
        return [(start, stop) for start, stop in entries_of(self.gold, self.gold_counts, number)]

    def brackets(self, number: int, threshold: int | None = None) -> list[Span]:
        """The brackets of a sentence's projected tree, each before those inside it."""
        spans = self.spans[self._place(None, threshold)[1]]
        return [(start, stop) for start, stop in entries_of(spans, self.lengths - 1, number)]

    def tree(self, number: int, threshold: int | None = None) -> Any:
        """A sentence's projected tree (`analyses.trees.brackets.tree_graph`)."""
        return tree_graph(self.brackets(number, threshold), self.sentence(number))

    def gold_tree(self, number: int) -> Any:
        """A sentence's gold tree."""
        return tree_graph(self.gold_brackets(number), self.sentence(number))

    def summary(self) -> dict[str, float | str]:
        """Tscore and tparseval at the headline's threshold; F1 of each method and baseline.

        `undecided_share` is that of brackets whose splits are all worth the same; F1 is NaN where
        these are all.
        """
        return {
            "tscore": self.tscore,
            "tparseval": self.f1(),
            **{f"f1_{method}": self.f1(method) for method in METHODS},
            **{f"f1_{name}": value for name, value in self.baselines().items()},
            "undecided_share": self.undecided_share(),
            "sentences": len(self.lengths),
            "left_out": self.left_out,
            "mean_words": float(self.lengths.mean()),
            "threshold": self.thresholds[0],
            "rule": self._rule,
        }

    def to_frame(self) -> "pandas.DataFrame":
        """One row a threshold and sentence, with both trees as text."""
        import pandas

        numbers = range(len(self.lengths))
        return pandas.DataFrame([self._row(*place) for place in product(self.thresholds, numbers)])

    def _row(self, threshold: int, number: int) -> dict[str, Any]:
        words, gold = self.sentence(number), self.gold_brackets(number)
        spans = self.brackets(number, threshold)
        return {
            "threshold": threshold,
            "sentence": " ".join(words),
            "words": len(words),
            "score": self.scores[self.thresholds.index(threshold), number],
            "f1": bracketing_f1(len({*spans} & {*gold}), len(spans), len(gold)),
            "tree": to_brackets(spans, words),
            "gold": to_brackets(gold, words),
        }

    def figures(self) -> Mapping[str, Drawing]:
        """Both trees of the first short sentences; F1 and baselines; scores by threshold."""
        by_threshold: dict[str, Callable[[], Drawing]] = {
            "f1_by_threshold": self._f1_curves,
            "tscore_by_threshold": lambda: self._curves(
                "Score of projected trees",
                {plots.words(self.method): self.scores.mean(1)},
                "tscore",
            ),
        }
        shown = by_threshold if len(self.thresholds) > 1 else {}
        return Drawings(trees=self._trees, f1=self._bars, **shown)

    def _trees(self) -> Drawing:
        fitting = [number for number, n in enumerate(self.lengths) if 2 < n <= MAX_DRAWN_WORDS]
        pairs = [
            TwoTrees(
                self.sentence(number),
                tuple(self.gold_brackets(number)),
                tuple(self.brackets(number)),
                self._heading(number),
            )
            for number in fitting[:MAX_DRAWN] or [int(self.lengths.argmin())]
        ]
        return side_by_side(
            pairs,
            ("gold tree", "projected tree"),
            title=self._title,
        )

    @property
    def _title(self) -> str:
        """Gold brackets of the rule's trees beside those of others, and the score."""
        gold = "" if np.isnan(self.f1()) else f"{self._gold_listed()}; "
        return f"Projected trees: {gold}score {self.tscore:.2f}"

    def _gold_listed(self) -> str:
        """The share of gold brackets of the rule's trees, of those without a model, of others."""
        known = self.baselines()
        shares = {name: self.f1(name) for name in sorted(METHODS, key=self.method.__ne__)}
        first, *others = (
            f"{NAMES[name]} {_share(share)}" for name, share in shares.items() if share == share
        )
        shapes = (
            f"{plots.words(name)} {_share(known[name])}" for name in ("random", "right_branching")
        )
        return f"{first} gold brackets ({', '.join([*shapes, *others])})"

    def _heading(self, number: int) -> str:
        """Of a sentence: gold brackets of its tree, of a random one on average, and the score."""
        gold, length = self.gold_brackets(number), int(self.lengths[number])
        score = f"score {self.scores[0, number]:.2f}"
        if not gold:
            return score
        found = len({*self.brackets(number)} & {*gold})
        by_chance = baseline_matches([gold], [length])["random"][0]
        return f"{found} of {len(gold)} gold (random {by_chance:.1f}); {score}"

    def _bars(self) -> Drawing:
        scores = {method: self.f1(method) for method in METHODS} | self.baselines()
        listed = (
            ""
            if np.isnan(self.f1())
            else f": {self._gold_listed().replace(' gold brackets', '', 1)}"
        )
        longer = f" ({self.left_out} longer ones left out)" if self.left_out else ""
        return plots.bars(
            [*map(plots.words, scores)],
            {"F1": list(scores.values())},
            strong=[plots.words(method) for method in METHODS],
            title=f"Gold brackets in {len(self.lengths)} sentences{longer}{listed}",
            axes=("", "F1 of brackets"),
        )

    def _f1_curves(self) -> Drawing:
        curves = {
            plots.words(method): [self.f1(method, threshold) for threshold in self.thresholds]
            for method in METHODS
        } | {
            plots.words(name): [self.baselines()[name]] * len(self.thresholds)
            for name in ("right_branching", "random")
        }
        return self._curves("Gold brackets found", curves, "F1")

    def _curves(self, what: str, curves: Mapping[str, Any], unit: str) -> Drawing:
        return plots.lines(
            np.array([f"layer {threshold}" for threshold in self.thresholds]),
            curves,
            title=f"{what}, by the layer from which spans are cut off",
            axes=("first layer cut", unit),
        )

    def _place(self, method: str | None, threshold: int | None) -> tuple[int, int]:
        """Where a method and a threshold stand on the first two axes; by default the headline's."""
        if method not in (None, *METHODS):
            raise ValueError(f"method '{method}': take one of {', '.join(METHODS)}")
        if threshold not in (None, *self.thresholds):
            raise ValueError(f"threshold {threshold} was not measured; {self.thresholds} were")
        layer = 0 if threshold is None else self.thresholds.index(threshold)
        return METHODS.index(method or self.method), layer


def _share(value: float) -> str:
    """A share of brackets in words."""
    return percent(round(value, 3))
