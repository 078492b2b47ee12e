"""Turns tensors into results: one question a file, one line here."""

from analyses.attention_sparsity import AttentionSparsity
from analyses.clock_pizza import ClockPizza
from analyses.composition_graph import CompositionGraph
from analyses.effective_subnetwork import EffectiveSubnetwork
from analyses.example_views import ExampleViews
from analyses.fourier_circuit import FourierCircuit
from analyses.fourier_spectrum import FourierSpectrum
from analyses.grokking_phases import GrokkingPhases
from analyses.in_context_curve import InContextCurve
from analyses.linear_interpolation import LinearInterpolation
from analyses.neuron_circle import NeuronCircle
from analyses.neuron_waves import NeuronWaves
from analyses.outcome_shares import OutcomeShares
from analyses.phase_map import PhaseMap
from analyses.probe_accuracy import ProbeAccuracy
from analyses.pruning_trace import PruningTrace
from analyses.result import Analysis, Finding, Result, SeriesResult, SweepResult, trace
from analyses.seed_spread import SeedSpread
from analyses.weight_norms import WeightNorms

ANALYSES: dict[str, Analysis] = {
    "GrokkingPhases": GrokkingPhases,
    "FourierSpectrum": FourierSpectrum,
    "FourierCircuit": FourierCircuit,
    "NeuronWaves": NeuronWaves,
    "NeuronCircle": NeuronCircle,
    "ClockPizza": ClockPizza,
    "AttentionSparsity": AttentionSparsity,
    "ProbeAccuracy": ProbeAccuracy,
    "CompositionGraph": CompositionGraph,
    "WeightNorms": WeightNorms,
    "PruningTrace": PruningTrace,
    "EffectiveSubnetwork": EffectiveSubnetwork,
    "LinearInterpolation": LinearInterpolation,
    "InContextCurve": InContextCurve,
    "ExampleViews": ExampleViews,
    "OutcomeShares": OutcomeShares,
    "PhaseMap": PhaseMap,
    "SeedSpread": SeedSpread,
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
    "InContextCurve",
    "LinearInterpolation",
    "NeuronCircle",
    "NeuronWaves",
    "OutcomeShares",
    "PhaseMap",
    "ProbeAccuracy",
    "PruningTrace",
    "Result",
    "SeedSpread",
    "SeriesResult",
    "SweepResult",
    "WeightNorms",
    "trace",
]
