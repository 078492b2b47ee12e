"""Tense inflection: does the main verb agree with its subject, or with the nearest noun?

`my quail upon my peacocks remembered her unicorns . PRESENT` is followed by the same sentence in
the present: `remembers`, as the quail does, not `remember`, as the nearest noun would have it.
Training has no PRESENT line where the two differ in number; the generalization set has no others.

Source: McCoy, Frank and Linzen 2020 (arXiv:2001.03632); Murty et al. 2023 (arXiv:2305.18741).
Probabilities are fitted to the published lines, since the published grammar's are others.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hooks import Facts, Snapshot
from hooks.generate import greedy
from interp.tasks.base import Batch
from interp.tasks.fields import Count
from interp.tasks.language.english import CHUNK, EnglishTask, Weights, plural_heads, some_lines
from interp.tasks.language.grammar import (
    INTRANSITIVE,
    INTRANSITIVE_PAST,
    TRANSITIVE,
    TRANSITIVE_PAST,
    Sentences,
    Tree,
    forms,
    nearest_noun,
)
from interp.tasks.language.lines import Language, Lines


def _third_person(verbs: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{verb}s" for verb in verbs)


PAST = forms((INTRANSITIVE_PAST, INTRANSITIVE_PAST), (TRANSITIVE_PAST, TRANSITIVE_PAST))
PRESENT = forms(
    (_third_person(INTRANSITIVE), INTRANSITIVE), (_third_person(TRANSITIVE), TRANSITIVE)
)
TENSES = Language(
    has_auxiliaries=False, markers=("PAST", "PRESENT"), ends=(".", "."),
    source=PAST, changed=PRESENT, fronts=False,
)  # fmt: skip
# bare, PP, SRC_i, SRC_t, ORC; intransitive, then the same of the object
WEIGHTS: Weights = ((1 / 3, 1 / 3, *[1 / 9] * 3), (1 / 4, 1 / 4, 1 / 4, *[1 / 12] * 3))
TAGS = {  # one for all verbs, in every form
    word: "V" if name in ("Vi", "Vt") else name
    for each in (PAST, PRESENT)
    for name, numbers in each.items()
    for words in numbers
    for word in words
}
DECODED = 50  # tokens at most, as in the released code


class TenseInflection(EnglishTask):
    """Sentences in the past to be copied or put into the present.

    Attributes:
        scored_lines: Lines of a split that are scored, drawn once: decoding them takes time.
    """

    widths: ClassVar = (21, 25, 29, 31)  # 2 n + 5 for 8, 10, 12 and 13 words
    metrics: ClassVar = ("loss", "accuracy", "verb_accuracy", "line_accuracy")

    name: Literal["tense_inflection"] = "tense_inflection"  # pyright: ignore[reportIncompatibleVariableOverride]  # frozen: may narrow
    scored_lines: Count = 2_000

    @property
    def language(self) -> Language:
        """Words and rules: 98 words, verbs put into the present."""
        return TENSES

    @property
    def facts(self) -> Facts:
        """Names of the kinds and tokens; `chance` is that of the main verb's two forms."""
        return replace(super().facts, chance=0.5)

    def grade(
        self, logits: Float[Tensor, "batch position d_vocab_out"], batch: Batch
    ) -> dict[str, Tensor]:
        """Loss in nats, and the share of lines of which greedy decoding would give all."""
        right = self.answered(logits, batch["targets"])
        return {"loss": self.loss(logits, batch), "line_accuracy": right.to(logits.dtype).mean()}

    def score(self, snapshot: Snapshot) -> dict[str, float]:
        """The grade of some lines, and how many are rightly inflected when decoded greedily.

        `accuracy` is the paper's: the main verb is right and every word is of the right class.
        `verb_accuracy` asks for the main verb alone, wherever the answer's own words put it.
        """
        sample = snapshot
        if len(snapshot.examples) > self.scored_lines:
            sample = snapshot.on(snapshot.examples.drawn(self.scored_lines, 0))
        graded = super().score(sample)
        pairs = list(zip(self.said(sample), self._answers(sample), strict=True))
        verbs = [main_verb(said) == main_verb(answer) for said, answer in pairs]
        whole = [_tags(said) == _tags(answer) for said, answer in pairs]
        both = [verb and tags for verb, tags in zip(verbs, whole, strict=True)]
        accuracies = {"accuracy": float(np.mean(both)), "verb_accuracy": float(np.mean(verbs))}
        return {"loss": graded["loss"]} | accuracies | {"line_accuracy": graded["line_accuracy"]}

    def said(self, snapshot: Snapshot) -> list[list[str]]:
        """What a model says after each line's marker, without a full stop at its end.

        Lines it answers without a fault when fed the right words are not decoded: greedy decoding
        would feed it the same.
        """
        examples = snapshot.examples
        tokens, starts = examples.model_inputs, examples.label("words") + 3
        is_right = self.answered(snapshot.logits(), examples.targets.to(snapshot.logits().device))
        wrong = (~is_right).nonzero()[:, 0].to(tokens.device)
        said = self._answers(snapshot)
        stop = TENSES.ids["EOS"]
        decoded = greedy(snapshot, tokens[wrong], starts[wrong], count=DECODED, stop=stop)
        for row, ids in zip(wrong.tolist(), decoded, strict=True):
            said[row] = _without_stop([TENSES.vocabulary[token] for token in ids])
        return said

    def _answers(self, snapshot: Snapshot) -> list[list[str]]:
        """The words that each line asks for."""
        examples = snapshot.examples
        rows = zip(examples.model_inputs.tolist(), examples.label("words").tolist(), strict=True)
        return [[TENSES.vocabulary[token] for token in row[n + 3 : 2 * n + 3]] for row, n in rows]

    def settles(self, lines: Lines) -> Bool[np.ndarray, " line"]:
        """Whether each line is in the present, its main verb's subject unlike the nearest noun."""
        return lines.is_changed & has_conflict(lines.sentences)

    def _in_domain(self, rng: np.random.Generator) -> Lines:
        lines = some_lines(TENSES, WEIGHTS, rng)
        return lines.at(~self.settles(lines))

    def _generalizing(self, rng: np.random.Generator) -> Lines:
        sentences = some_lines(TENSES, WEIGHTS, rng).sentences
        return Lines(sentences, np.ones(CHUNK, dtype=bool)).at(has_conflict(sentences))

    def _truth(self, lines: Lines, batch: Batch) -> tuple[dict[str, Tensor], tuple[Tree, ...]]:
        labels, trees = super()._truth(lines, batch)
        return labels | {"conflict": torch.from_numpy(has_conflict(lines.sentences))}, trees


def has_conflict(sentences: Sentences) -> Bool[np.ndarray, " sentence"]:
    """Whether the noun nearest before the main verb differs in number from its subject."""
    grammar = TENSES.grammar
    pairs = zip(grammar.templates, grammar.main.tolist(), strict=True)
    nearest = np.array([nearest_noun(classes, main) for classes, main in pairs])
    return sentences.is_plural(nearest[sentences.template]) != plural_heads(sentences)


def main_verb(words: Sequence[str]) -> str | None:
    """The second verb where the third word is a relativizer, otherwise the first; None if none."""
    tags = _tags(words)
    verbs = [word for word, tag in zip(words, tags, strict=True) if tag == "V"]
    place = 1 if tags[2:3] == ["Rel"] else 0
    return verbs[place] if place < len(verbs) else None


def _tags(words: Sequence[str]) -> list[str]:
    """The class of each word; a sign is its own."""
    return [TAGS.get(word, word) for word in words]


def _without_stop(words: list[str]) -> list[str]:
    return words[:-1] if words[-1:] == ["."] else words
