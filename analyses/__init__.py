"""Turns tensors into results: one question a file, one line here."""

from analyses.attention_sparsity import AttentionSparsity
from analyses.clock_pizza import ClockPizza
from analyses.composition_graph import CompositionGraph
from analyses.effective_subnetwork import EffectiveSubnetwork
from analyses.example_views import ExampleViews
from analyses.fourier_circuit import FourierCircuit
from analyses.fourier_spectrum import FourierSpectrum
from analyses.grokking_phases import GrokkingPhases
from analyses.linear_interpolation import LinearInterpolation
from analyses.probe_accuracy import ProbeAccuracy
from analyses.pruning_trace import PruningTrace
from analyses.result import Analysis, Finding, Result, SeriesResult, SweepResult, trace
from analyses.weight_norms import WeightNorms

ANALYSES: dict[str, Analysis] = {
    "GrokkingPhases": GrokkingPhases,
    "FourierSpectrum": FourierSpectrum,
    "FourierCircuit": FourierCircuit,
    "ClockPizza": ClockPizza,
    "AttentionSparsity": AttentionSparsity,
    "ProbeAccuracy": ProbeAccuracy,
    "CompositionGraph": CompositionGraph,
    "WeightNorms": WeightNorms,
    "PruningTrace": PruningTrace,
    "EffectiveSubnetwork": EffectiveSubnetwork,
    "LinearInterpolation": LinearInterpolation,
    "ExampleViews": ExampleViews,
}

__all__ = [
    "ANALYSES",
    "Analysis",
    "AttentionSparsity",
    "ClockPizza",
    "CompositionGraph",
    "EffectiveSubnetwork",
    "ExampleViews",
    "Finding",
    "FourierCircuit",
    "FourierSpectrum",
    "GrokkingPhases",
    "LinearInterpolation",
    "ProbeAccuracy",
    "PruningTrace",
    "Result",
    "SeriesResult",
    "SweepResult",
    "WeightNorms",
    "trace",
]
