"""What many runs say together: rates over seeds, maps over settings, correlations."""

from analyses.sweeps.correlations import MeasureCorrelations
from analyses.sweeps.measures_by_depth import MeasuresByDepth
from analyses.sweeps.outcome_shares import OutcomeShares
from analyses.sweeps.phase_map import PhaseMap
from analyses.sweeps.plateau_lengths import PlateauLengths
from analyses.sweeps.seed_spread import SeedSpread

__all__ = [
    "MeasureCorrelations",
    "MeasuresByDepth",
    "OutcomeShares",
    "PhaseMap",
    "PlateauLengths",
    "SeedSpread",
]
