"""What linear probes read from activations, beside their controls."""

from analyses.probes.accuracy import ProbeAccuracy
from analyses.probes.context_component import ContextComponent
from analyses.probes.weights_component import WeightsComponent

__all__ = ["ContextComponent", "ProbeAccuracy", "WeightsComponent"]
