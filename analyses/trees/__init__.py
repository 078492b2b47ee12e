"""Trees that a model's states say, scored against gold parses."""

from analyses.trees.projection import TreeProjection

__all__ = ["TreeProjection"]
