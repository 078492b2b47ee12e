"""Sentences that differ in one respect, and the slots in which the words of a role stand.

A change puts another word of its class into one slot, or two. Words that agree with a changed noun
follow when the sentence is spelled. The template stays, so that both sentences have one length.
"""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool, Int

from interp.tasks.base import other_classes
from interp.tasks.language.grammar import (
    HEAD_SLOT,
    NOUNS,
    Grammar,
    Sentences,
    nearest_noun,
)

NO_SLOT = -1  # stands for a slot that a template lacks
Slots = Mapping[str, Int[np.ndarray, " template"]]


def slots(grammar: Grammar) -> Slots:
    """For each template, the slots of some words; `NO_SLOT` where it lacks one.

    Returns:
        `noun`, the main subject's; `clause`, the first auxiliary, where it is not the main one;
        `distractor`, the last noun before the main auxiliary or verb, where it is not the
        subject's; `main`, the main auxiliary or verb; `object`, the noun of the main clause's
        object.
    """
    found: dict[str, list[int]] = {name: [] for name in ("noun", "clause", "distractor", "object")}
    for classes, main in zip(grammar.templates, grammar.main.tolist(), strict=True):
        first, nearest = (*classes, "Aux").index("Aux"), nearest_noun(classes, main)
        found["noun"].append(HEAD_SLOT)
        found["clause"].append(first if first < main else NO_SLOT)
        found["distractor"].append(nearest if nearest != HEAD_SLOT else NO_SLOT)
        found["object"].append(classes.index("N", main) if "N" in classes[main:] else NO_SLOT)
    return {name: np.array(values) for name, values in found.items()} | {"main": grammar.main}


def changed(
    grammar: Grammar, sentences: Sentences, change: str, seed: int
) -> tuple[Bool[np.ndarray, " sentence"], Sentences]:
    """Sentences changed in one respect.

    Args:
        grammar: The templates.
        sentences: The sentences.
        change: exchange: the main auxiliary and the relative clause's, of sentences that have these
            two alone. number, distractor, both: the number of the subject's noun, of the last noun
            before the main verb, or of both. object: another noun of the same number.
        seed: Decides the other nouns.

    Returns:
        Which sentences can be changed so, and all of them, of which those that cannot be are
        changed in some way that does not matter.
    """
    by_role = {name: values[sentences.template] for name, values in slots(grammar).items()}
    main, distractor = by_role["main"], by_role["distractor"]
    if change == "exchange":
        auxiliaries = np.array([classes.count("Aux") for classes in grammar.templates])
        fits = (by_role["clause"] != NO_SLOT) & (auxiliaries[sentences.template] == 2)
        first, second = sentences.choice(by_role["clause"]), sentences.choice(main)
        other = sentences.with_choices(by_role["clause"], second).with_choices(main, first)
        return fits, other
    if change == "object":
        slot = by_role["object"]
        noun = torch.from_numpy(sentences.choice(slot) % len(NOUNS))
        other = other_classes(noun, len(NOUNS), seed).numpy()
        plural = len(NOUNS) * sentences.is_plural(slot)
        return slot != NO_SLOT, sentences.with_choices(slot, other + plural)
    if change != "distractor":
        sentences = with_other_number(sentences, by_role["noun"])
    if change == "number":
        return np.ones(len(sentences), dtype=bool), sentences
    return distractor != NO_SLOT, with_other_number(sentences, distractor)


def with_other_number(sentences: Sentences, slot: Int[np.ndarray, " sentence"]) -> Sentences:
    """The same sentences, in which the noun of a slot has the other number."""
    noun = (sentences.choice(slot) + len(NOUNS)) % (2 * len(NOUNS))
    return sentences.with_choices(slot, noun)
