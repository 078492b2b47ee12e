"""How attention heads look and work together: sparsity, composition, patterns on examples."""

from analyses.attention.composition import CompositionGraph
from analyses.attention.example_views import ExampleViews
from analyses.attention.sparsity import AttentionSparsity

__all__ = ["AttentionSparsity", "CompositionGraph", "ExampleViews"]
