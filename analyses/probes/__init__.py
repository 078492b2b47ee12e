"""What linear probes read from activations, beside their controls."""

from analyses.probes.accuracy import ProbeAccuracy
from analyses.probes.components import ContextComponent, WeightsComponent

__all__ = ["ContextComponent", "ProbeAccuracy", "WeightsComponent"]
