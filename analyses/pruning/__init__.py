"""Which weights matter, how large they are, and how both change over a run."""

from analyses.pruning.subnetwork import EffectiveSubnetwork
from analyses.pruning.trace import PruningTrace
from analyses.pruning.weight_norms import WeightNorms

__all__ = ["EffectiveSubnetwork", "PruningTrace", "WeightNorms"]
