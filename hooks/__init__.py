"""Runs models and returns tensors. TransformerLens is imported only by what goes there and back."""

from hooks.checkpoints import Checkpoints, GivenCheckpoints, Series
from hooks.circuits.pairs import Pairs
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
from hooks.transformer import (
    HookedTransformer,
    HookedTransformerConfig,
    activation_cache,
    from_transformer_lens,
    to_transformer_lens,
)

__all__ = [
    "LATE_ANSWERS",
    "Checkpoints",
    "Edit",
    "Examples",
    "Facts",
    "FunctionFacts",
    "GivenCheckpoints",
    "HookedTransformer",
    "HookedTransformerConfig",
    "InputFacts",
    "LinearPrior",
    "MixtureFacts",
    "ModelConfig",
    "ModularFacts",
    "Pairs",
    "Prior",
    "PromptFacts",
    "SentenceFacts",
    "Series",
    "Sizes",
    "Snapshot",
    "Tree",
    "WavePrior",
    "activation_cache",
    "build",
    "from_transformer_lens",
    "patched",
    "replaced_by",
    "to_transformer_lens",
]
