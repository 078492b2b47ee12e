"""What a model learns from the examples in its prompt, beside what best learners would."""

from analyses.in_context.curve import InContextCurve
from analyses.in_context.selection import ModelSelection

__all__ = ["InContextCurve", "ModelSelection"]
