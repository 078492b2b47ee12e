"""Question formation: which auxiliary moves to the front, the main one or the first?

Of `my walrus that does giggle doesn't sleep . quest` the question begins with `doesn't`, the main
clause's auxiliary. Training has no question whose subject holds a relative clause, so that the
first auxiliary is always the main one; the generalization set has no others. There both auxiliaries
have the same number and opposite polarity: fronting the first is never right, and guessing between
the two is right half the time.

Source: McCoy, Frank and Linzen 2020 (arXiv:2001.03632); Murty et al. 2023 (arXiv:2305.18741).
Probabilities are fitted to the published lines, since the published grammar's are others.
"""

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import model_validator
from torch import Tensor

from hooks import Facts, Snapshot
from interp.tasks.base import Batch
from interp.tasks.language.english import CHUNK, EnglishTask, Weights, plural_heads, some_lines
from interp.tasks.language.grammar import (
    AUXILIARIES,
    CLASSES,
    INTRANSITIVE,
    SUBJECTS,
    TRANSITIVE,
    Sentences,
    forms,
)
from interp.tasks.language.lines import Language, Lines

BARE = forms((INTRANSITIVE, INTRANSITIVE), (TRANSITIVE, TRANSITIVE))
QUESTIONS = Language(
    has_auxiliaries=True, markers=("decl", "quest"), ends=(".", "?"),
    source=BARE, changed=BARE, fronts=True,
)  # fmt: skip
# classes of the first words after the head noun, by which kinds of relative clause differ
CLAUSES = {"SRC_i": ("Rel", "Aux", "Vi"), "SRC_t": ("Rel", "Aux", "Vt"), "ORC": ("Rel", "Det", "N")}
# intransitive, then the object bare, with PP, SRC_i, SRC_t, ORC
PREDICATE_WEIGHTS = (0.2245, 0.2285, 0.2365, 0.155, 0.0785, 0.077)
# bare, PP, SRC_i, SRC_t, ORC; the latter two have 0.6 relative clauses, bare to PP as before
SUBJECT_WEIGHTS = {
    "fitted": (0.511, 0.205, 0.071, 0.071, 0.142),
    "rc60": (0.4 * 0.511 / 0.716, 0.4 * 0.205 / 0.716, 0.15, 0.15, 0.3),
    "rc60-orc80": (0.4 * 0.511 / 0.716, 0.4 * 0.205 / 0.716, 0.06, 0.06, 0.48),
}
# ORC twice as often: of its inner noun's two numbers only one will do.
GENERALIZATION_WEIGHTS: Weights = ((0, 0, 0.25, 0.25, 0.5), (0.6, 0.2, 0.2, 0, 0, 0))


class QuestionFormation(EnglishTask):
    """Sentences to be copied or made into questions.

    Attributes:
        sentences: Distribution of training sentences: fitted to the published ones, or with more
            relative clauses on the subject: rc60 and rc60-orc80 have them on 60 %, of kinds
            SRC_i, SRC_t and ORC 25:25:50 and 10:10:80. Neither of these two is published.
    """

    splits: ClassVar = ("validation", "generalization", "train", "train_questions")
    widths: ClassVar = (23, 29, 33, 37)  # 2 n + 5 for 9, 12, 14 and 16 words
    metrics: ClassVar = (
        *("loss", "accuracy", "first_word_accuracy", "line_accuracy"),
        *(f"accuracy_{kind}" for kind in CLAUSES),
    )

    name: Literal["question_formation"] = "question_formation"  # pyright: ignore[reportIncompatibleVariableOverride]  # frozen: may narrow
    sentences: Literal["fitted", "rc60", "rc60-orc80"] = "fitted"

    @model_validator(mode="after")
    def _files_have_their_own_sentences(self) -> "QuestionFormation":
        if self.files is not None and self.sentences != "fitted":
            raise ValueError(f"sentences {self.sentences} are drawn, and files are read: take one")
        return self

    @property
    def language(self) -> Language:
        """Words and rules: 68 words, the main auxiliary fronted."""
        return QUESTIONS

    @property
    def facts(self) -> Facts:
        """Names of the kinds and tokens; `chance` is that of one auxiliary in four."""
        return replace(super().facts, chance=1 / 4)

    def grade(
        self, logits: Float[Tensor, "batch position d_vocab_out"], batch: Batch
    ) -> dict[str, Tensor]:
        """Loss in nats, and how many questions begin, and lines are answered, rightly.

        `accuracy` is the paper's: the first word of each question, the best of the four
        auxiliaries; `first_word_accuracy` takes the best of all words. `line_accuracy` is the
        share of lines, copies included, of which greedy decoding would give all. `accuracy_SRC_i`
        and so on are `accuracy` of the questions with such a relative clause on the subject. NaN
        where there is no such question.
        """
        targets = batch["targets"]
        right, is_first = self.first_words(logits, targets)
        is_best = logits.argmax(-1) == targets

        def share(right: Tensor, asked: Tensor) -> Tensor:
            return (right & asked).sum(dtype=logits.dtype) / asked.sum(dtype=logits.dtype)

        by_kind = {
            f"accuracy_{kind}": share(right, is_first & is_kind[:, None])
            for kind, is_kind in clauses(targets).items()
        }
        return {
            "loss": self.loss(logits, batch),
            "accuracy": share(right, is_first),
            "first_word_accuracy": share(is_best, is_first),
            "line_accuracy": self.answered(logits, targets).to(logits.dtype).mean(),
        } | by_kind

    def first_words(
        self, logits: Float[Tensor, "batch pos d_vocab_out"], targets: Int[Tensor, "batch pos"]
    ) -> tuple[Bool[Tensor, "batch pos"], Bool[Tensor, "batch pos"]]:
        """Where the best of the four auxiliaries is the next word, and where questions begin."""
        ids = [QUESTIONS.ids[word] for words in AUXILIARIES for word in words]
        best = torch.tensor(ids, device=logits.device)[logits[..., ids].argmax(-1)]
        is_marker = targets == QUESTIONS.ids["quest"]
        is_first = torch.cat([torch.zeros_like(is_marker[:, :1]), is_marker[:, :-1]], dim=1)
        return best == targets, is_first

    def by_subject(self, snapshot: Snapshot) -> dict[str, float]:
        """`accuracy` by kind of subject, of the kinds that the snapshot's questions have."""
        examples = snapshot.examples
        right, is_first = self.first_words(snapshot.logits().cpu(), examples.targets.cpu())
        asked, answered = is_first.any(1), (right & is_first).any(1)
        kinds = examples.label("subject").cpu()
        return {
            name: float(answered[chosen].double().mean())
            for kind, name in enumerate(SUBJECTS)
            if (chosen := asked & (kinds == kind)).any()
        }

    def settles(self, lines: Lines) -> Bool[np.ndarray, " line"]:
        """Whether each line is a question with a relative clause on its subject."""
        return lines.is_changed & has_relative_subject(lines.sentences)

    def _lines(self, split: str, generator: torch.Generator) -> Lines:
        if split != "train_questions":
            return super()._lines(split, generator)
        lines = super()._lines("train", generator)
        return lines.at(lines.is_changed)

    def _in_domain(self, rng: np.random.Generator) -> Lines:
        weights = (SUBJECT_WEIGHTS[self.sentences], PREDICATE_WEIGHTS)
        lines = some_lines(QUESTIONS, weights, rng)
        return lines.at(~self.settles(lines))

    def _generalizing(self, rng: np.random.Generator) -> Lines:
        sentences = some_lines(QUESTIONS, GENERALIZATION_WEIGHTS, rng).sentences
        return Lines(sentences, np.ones(CHUNK, dtype=bool)).at(is_undecided_by_number(sentences))


def clauses(targets: Int[Tensor, "batch pos"]) -> dict[str, Bool[Tensor, " batch"]]:
    """Whether each kind of relative clause is on the subject, by the words after its noun. Pure."""
    classes = torch.full((len(QUESTIONS.vocabulary),), -1)
    for name, numbers in BARE.items():
        classes[[QUESTIONS.ids[word] for words in numbers for word in words]] = CLASSES.index(name)
    found = classes.to(targets.device)[targets[:, 2:5]]
    codes = {kind: [CLASSES.index(name) for name in names] for kind, names in CLAUSES.items()}
    return {
        kind: (found == torch.tensor(each, device=targets.device)).all(-1)
        for kind, each in codes.items()
    }


def has_relative_subject(sentences: Sentences) -> Bool[np.ndarray, " sentence"]:
    """Whether a relative clause modifies the subject."""
    return sentences.subject >= SUBJECTS.index("SRC_i")


def is_undecided_by_number(sentences: Sentences) -> Bool[np.ndarray, " sentence"]:
    """Whether the first and the main auxiliary have the same number and opposite polarity."""
    grammar, rows = QUESTIONS.grammar, np.arange(len(sentences))
    first = np.array([classes.index("Aux") for classes in grammar.templates])[sentences.template]
    main = grammar.main[sentences.template]
    noun = grammar.agrees[sentences.template, first]
    is_same_number = sentences.is_plural(noun) == plural_heads(sentences)
    return is_same_number & (sentences.choices[rows, first] != sentences.choices[rows, main])
