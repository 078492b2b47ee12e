"""What happens over the steps of one run: memorising, generalising, plateaus, measures inside."""

from analyses.dynamics.generalization import Generalization
from analyses.dynamics.grokking import GrokkingPhases
from analyses.dynamics.internal_measures import InternalMeasures
from analyses.dynamics.interpolation import LinearInterpolation
from analyses.dynamics.plateau import LearningPlateau

__all__ = [
    "Generalization",
    "GrokkingPhases",
    "InternalMeasures",
    "LearningPlateau",
    "LinearInterpolation",
]
