"""Runs models and returns tensors.

The only package that touches transformer_lens, and that only inside `hooks.models.build`: what
needs no live model (weights by name, examples, losses) never pays for its import.
"""

from hooks.checkpoints import Checkpoints, GivenCheckpoints, Series
from hooks.edit import Edit
from hooks.examples import LATE_ANSWERS, Examples, Tree
from hooks.facts import (
    Facts,
    FunctionFacts,
    InputFacts,
    LinearPrior,
    MixtureFacts,
    ModularFacts,
    Prior,
    PromptFacts,
    SentenceFacts,
    WavePrior,
)
from hooks.models import ModelConfig, Sizes, build
from hooks.patching import patched, replaced_by
from hooks.snapshot import Snapshot

__all__ = [
    "LATE_ANSWERS",
    "Checkpoints",
    "Edit",
    "Examples",
    "Facts",
    "FunctionFacts",
    "GivenCheckpoints",
    "InputFacts",
    "LinearPrior",
    "MixtureFacts",
    "ModelConfig",
    "ModularFacts",
    "Prior",
    "PromptFacts",
    "SentenceFacts",
    "Series",
    "Sizes",
    "Snapshot",
    "Tree",
    "WavePrior",
    "build",
    "patched",
    "replaced_by",
]
