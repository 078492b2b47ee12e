"""Turns tensors into results: one question a file, one line here."""

from analyses.attention_sparsity import AttentionSparsity
from analyses.clock_pizza import ClockPizza
from analyses.composition_graph import CompositionGraph
from analyses.context_component import ContextComponent
from analyses.effective_subnetwork import EffectiveSubnetwork
from analyses.example_views import ExampleViews
from analyses.fourier_circuit import FourierCircuit
from analyses.fourier_spectrum import FourierSpectrum
from analyses.generalization import Generalization
from analyses.grokking_phases import GrokkingPhases
from analyses.in_context_curve import InContextCurve
from analyses.internal_measures import InternalMeasures
from analyses.learning_plateau import LearningPlateau
from analyses.linear_interpolation import LinearInterpolation
from analyses.measure_correlations import MeasureCorrelations
from analyses.measures_by_depth import MeasuresByDepth
from analyses.model_selection import ModelSelection
from analyses.neuron_circle import NeuronCircle
from analyses.neuron_waves import NeuronWaves
from analyses.neuron_weights import NeuronWeights
from analyses.outcome_shares import OutcomeShares
from analyses.phase_map import PhaseMap
from analyses.plateau_lengths import PlateauLengths
from analyses.probe_accuracy import ProbeAccuracy
from analyses.pruning_trace import PruningTrace
from analyses.result import Analysis, Finding, Result, SeriesResult, SweepResult, trace
from analyses.seed_spread import SeedSpread
from analyses.tree_projection import TreeProjection
from analyses.weight_norms import WeightNorms
from analyses.weights_component import WeightsComponent

ANALYSES: dict[str, Analysis] = {
    "GrokkingPhases": GrokkingPhases,
    "Generalization": Generalization,
    "FourierSpectrum": FourierSpectrum,
    "FourierCircuit": FourierCircuit,
    "NeuronWaves": NeuronWaves,
    "NeuronCircle": NeuronCircle,
    "NeuronWeights": NeuronWeights,
    "ClockPizza": ClockPizza,
    "AttentionSparsity": AttentionSparsity,
    "ProbeAccuracy": ProbeAccuracy,
    "CompositionGraph": CompositionGraph,
    "WeightNorms": WeightNorms,
    "PruningTrace": PruningTrace,
    "EffectiveSubnetwork": EffectiveSubnetwork,
    "LinearInterpolation": LinearInterpolation,
    "TreeProjection": TreeProjection,
    "InContextCurve": InContextCurve,
    "LearningPlateau": LearningPlateau,
    "WeightsComponent": WeightsComponent,
    "ContextComponent": ContextComponent,
    "InternalMeasures": InternalMeasures,
    "ExampleViews": ExampleViews,
    "OutcomeShares": OutcomeShares,
    "PhaseMap": PhaseMap,
    "ModelSelection": ModelSelection,
    "PlateauLengths": PlateauLengths,
    "SeedSpread": SeedSpread,
    "MeasuresByDepth": MeasuresByDepth,
    "MeasureCorrelations": MeasureCorrelations,
}

__all__ = [
    "ANALYSES",
    "Analysis",
    "AttentionSparsity",
    "ClockPizza",
    "CompositionGraph",
    "ContextComponent",
    "EffectiveSubnetwork",
    "ExampleViews",
    "Finding",
    "FourierCircuit",
    "FourierSpectrum",
    "Generalization",
    "GrokkingPhases",
    "InContextCurve",
    "InternalMeasures",
    "LearningPlateau",
    "LinearInterpolation",
    "MeasureCorrelations",
    "MeasuresByDepth",
    "ModelSelection",
    "NeuronCircle",
    "NeuronWaves",
    "NeuronWeights",
    "OutcomeShares",
    "PhaseMap",
    "PlateauLengths",
    "ProbeAccuracy",
    "PruningTrace",
    "Result",
    "SeedSpread",
    "SeriesResult",
    "SweepResult",
    "TreeProjection",
    "WeightNorms",
    "WeightsComponent",
    "trace",
]
