"""Sentences of the two English tasks: which exist, how they are drawn, and what their trees are.

A clause is a subject, an auxiliary that agrees with it, and a verb phrase. Subject and object are
`Det N` with at most one modifier, which contains no further modifier. That makes 30 templates: 5
kinds of subject times 6 kinds of verb phrase. Trees are binary: [Subj [Aux VP]], VP = [Vt NP],
NP = [[Det N] [P [Det N]]] or [[Det N] [Rel X]], where X is [Aux VP] in a subject relative clause
and [[Det N] [Aux Vt]] in an object relative clause. The tense task has the same sentences without
auxiliaries.

Source: the sentences of McCoy, Frank and Linzen 2020 (arXiv:2001.03632). The probabilities of their
published grammars differ from those of their published data; ours are fitted to the data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Int, UInt8

from hooks import Tree

NOUNS = (
    "newt",
    "orangutan",
    "peacock",
    "quail",
    "raven",
    "salamander",
    "tyrannosaurus",
    "unicorn",
    "vulture",
    "walrus",
    "xylophone",
    "yak",
    "zebra",
)
PLURALS = tuple(f"{noun}{'es' if noun.endswith('s') else 's'}" for noun in NOUNS)
DETERMINERS = ("the", "some", "my", "your", "our", "her")
PREPOSITIONS = ("around", "near", "with", "upon", "by", "behind", "above", "below")
RELATIVIZERS = ("who", "that")
INTRANSITIVE = ("giggle", "smile", "sleep", "swim", "wait", "move", "change", "read", "eat")
INTRANSITIVE_PAST = (
    "giggled",
    "smiled",
    "slept",
    "swam",
    "waited",
    "moved",
    "changed",
    "read",
    "ate",
)
TRANSITIVE = (
    "entertain",
    "amuse",
    "high_five",
    "applaud",
    "confuse",
    "admire",
    "accept",
    "remember",
    "comfort",
)
TRANSITIVE_PAST = (
    "entertained",
    "amused",
    "high_fived",
    "applauded",
    "confused",
    "admired",
    "accepted",
    "remembered",
    "comforted",
)
AUXILIARIES = (("does", "doesn't"), ("do", "don't"))

CLASSES = ("Det", "N", "P", "Rel", "Aux", "Vi", "Vt")
SUBJECTS = ("bare", "PP", "SRC_i", "SRC_t", "ORC")
PREDICATES = ("intransitive", *SUBJECTS)  # a transitive predicate is named by its kind of object
MAX_WORDS = 16
HEAD_SLOT = 1  # slot of the main subject's noun
MAX_CHOICES = 26  # words of the largest class, the nouns

# The number of words in each class, in the order of CLASSES; 0 beyond a sentence's last slot.
CHOICES = np.array(
    [
        len(DETERMINERS),
        2 * len(NOUNS),
        len(PREPOSITIONS),
        2,
        2,
        len(INTRANSITIVE),
        len(TRANSITIVE),
        0,
    ]
)

Words = Sequence[str]
Forms = Mapping[str, tuple[Words, Words]]  # by class: words with a singular and a plural noun

DP: Tree = ("Det", "N")
PHRASES: Mapping[str, Tree] = {
    "bare": DP,
    "PP": (DP, ("P", DP)),
    "SRC_i": (DP, ("Rel", ("Aux", "Vi"))),
    "SRC_t": (DP, ("Rel", ("Aux", ("Vt", DP)))),
    "ORC": (DP, ("Rel", (DP, ("Aux", "Vt")))),
}


def forms(intransitive: tuple[Words, Words], transitive: tuple[Words, Words]) -> Forms:
    """The words of each class, given the verbs' forms for a singular and a plural noun."""
    fixed = {"Det": DETERMINERS, "N": NOUNS + PLURALS, "P": PREPOSITIONS, "Rel": RELATIVIZERS}
    same = {name: (words, words) for name, words in fixed.items()}
    return same | {"Aux": AUXILIARIES, "Vi": intransitive, "Vt": transitive}


@dataclass(frozen=True, eq=False)
class Grammar:
    """The templates of sentences, in order of subject, then predicate.

    Attributes:
        templates: For each template, the classes of its words.
        trees: For each template, its tree over positions, of which SOS has position 0.
        codes: The class of each slot as an index into `CLASSES`; `len(CLASSES)` beyond the last.
        agrees: For each slot, the slot of the noun with which its word agrees in number; for words
            that agree with no noun it does not matter.
        lengths: For each template, the number of its words.
        main: The slot of the main auxiliary, or of the main verb where there are no auxiliaries.
    """

    templates: tuple[tuple[str, ...], ...]
    trees: tuple[Tree, ...]
    codes: Int[np.ndarray, "template slot"]
    agrees: Int[np.ndarray, "template slot"]
    lengths: Int[np.ndarray, " template"]
    main: Int[np.ndarray, " template"]


@dataclass(frozen=True, eq=False)
class Sentences:
    """Sentences: the template of each, and which word of its class stands in each slot."""

    template: Int[np.ndarray, " sentence"]
    choices: UInt8[np.ndarray, "sentence slot"]

    def __len__(self) -> int:
        return len(self.template)

    @property
    def subject(self) -> Int[np.ndarray, " sentence"]:
        """Kind of subject, as an index into `SUBJECTS`."""
        return self.template // len(PREDICATES)

    @property
    def predicate(self) -> Int[np.ndarray, " sentence"]:
        """Kind of verb phrase, as an index into `PREDICATES`."""
        return self.template % len(PREDICATES)

    def with_choices(
        self, slot: Int[np.ndarray, " sentence"], choices: Int[np.ndarray, " sentence"]
    ) -> "Sentences":
        """The same sentences with another word of its class in a slot of each.

        Words that agree with it follow when the sentences are spelled.
        """
        changed = self.choices.copy()
        changed[np.arange(len(self)), slot] = choices
        return Sentences(self.template, changed)

    def choice(self, slot: Int[np.ndarray, " sentence"]) -> Int[np.ndarray, " sentence"]:
        """Which word of its class stands in each sentence's slot."""
        return self.choices[np.arange(len(self)), slot].astype(np.int64)

    def is_plural(self, slot: Int[np.ndarray, " sentence"]) -> Bool[np.ndarray, " sentence"]:
        """Whether the noun in each sentence's slot is plural."""
        return self.choices[np.arange(len(self)), slot] >= len(NOUNS)


@lru_cache
def grammar(has_auxiliaries: bool) -> Grammar:
    """All templates, with auxiliaries or without."""
    clauses = [clause(subject, predicate) for subject in SUBJECTS for predicate in PREDICATES]
    if not has_auxiliaries:
        clauses = [without_auxiliaries(tree) for tree in clauses]
    templates = tuple(leaves(tree) for tree in clauses)
    main = [len(leaves(subject)) for subject, _ in clauses]
    shape = (len(templates), MAX_WORDS)
    codes, agrees = np.full(shape, len(CLASSES)), np.full(shape, HEAD_SLOT)
    for row, classes in enumerate(templates):
        codes[row, : len(classes)] = [CLASSES.index(name) for name in classes]
        for slot in range(len(classes)):
            if slot != main[row] and "N" in classes[:slot]:
                agrees[row, slot] = nearest_noun(classes, slot)
    return Grammar(
        templates=templates,
        trees=tuple(numbered(tree, 1) for tree in clauses),
        codes=codes,
        agrees=agrees,
        lengths=np.array([len(classes) for classes in templates]),
        main=np.array(main),
    )


def clause(subject: str, predicate: str) -> Tree:
    """The tree of a clause over word classes."""
    verb_phrase = "Vi" if predicate == "intransitive" else ("Vt", PHRASES[predicate])
    return (PHRASES[subject], ("Aux", verb_phrase))


def without_auxiliaries(tree: Tree) -> Tree:
    """The same tree; the sister of each auxiliary takes the place of their parent."""
    if isinstance(tree, str):
        return tree
    left, right = tree
    if left == "Aux":
        return without_auxiliaries(right)
    return (without_auxiliaries(left), without_auxiliaries(right))


def leaves(tree: Tree) -> tuple[str, ...]:
    """The classes of a tree's words from left to right."""
    return (tree,) if isinstance(tree, str) else (*leaves(tree[0]), *leaves(tree[1]))


def numbered(tree: Tree, first: int) -> Tree:
    """The same tree, in which each leaf is replaced by its place, counted from `first`."""
    if isinstance(tree, str):
        return first
    left, right = tree
    return (numbered(left, first), numbered(right, first + len(leaves(left))))


def nearest_noun(classes: Sequence[str], slot: int) -> int:
    """The slot of the last noun before a slot, with which the verb of a relative clause agrees."""
    return max(place for place in range(slot) if classes[place] == "N")


def draw(
    grammar: Grammar,
    weights: tuple[Sequence[float], Sequence[float]],
    count: int,
    rng: np.random.Generator,
) -> Sentences:
    """Random sentences: subject and predicate are independent, words are uniform in their class.

    Args:
        grammar: The templates.
        weights: The weights of the kinds of subject, and of the kinds of predicate.
        count: How many sentences to draw.
        rng: Decides everything that is random.
    """
    subjects, predicates = (np.asarray(kinds) / np.sum(kinds) for kinds in weights)
    subject = rng.choice(len(SUBJECTS), count, p=subjects)
    predicate = rng.choice(len(PREDICATES), count, p=predicates)
    template = subject * len(PREDICATES) + predicate
    drawn = rng.random((count, MAX_WORDS)) * CHOICES[grammar.codes[template]]
    return Sentences(template, drawn.astype(np.uint8))


def spelled(
    grammar: Grammar, sentences: Sentences, table: Int[np.ndarray, "class number choice"]
) -> Int[np.ndarray, "sentence slot"]:
    """The id of each word of some sentences; 0 beyond a sentence's last word.

    Args:
        grammar: The templates.
        sentences: The sentences.
        table: The id of each word by class, number of the noun that it agrees with, and choice.
    """
    nouns = np.take_along_axis(sentences.choices, grammar.agrees[sentences.template], axis=1)
    plural = (nouns >= len(NOUNS)).astype(np.int64)
    return table[grammar.codes[sentences.template], plural, sentences.choices]
