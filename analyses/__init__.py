"""Turns tensors into results: one question a file, one line here."""

from analyses.attention.composition import CompositionGraph
from analyses.attention.example_views import ExampleViews
from analyses.attention.sparsity import AttentionSparsity
from analyses.dynamics.generalization import Generalization
from analyses.dynamics.grokking import GrokkingPhases
from analyses.dynamics.internal_measures import InternalMeasures
from analyses.dynamics.interpolation import LinearInterpolation
from analyses.dynamics.plateau import LearningPlateau
from analyses.fourier.circuit import FourierCircuit
from analyses.fourier.clock_pizza import ClockPizza
from analyses.fourier.spectrum import FourierSpectrum
from analyses.in_context.curve import InContextCurve
from analyses.in_context.selection import ModelSelection
from analyses.neurons.circle import NeuronCircle
from analyses.neurons.waves import NeuronWaves
from analyses.neurons.weights import NeuronWeights
from analyses.probes.accuracy import ProbeAccuracy
from analyses.probes.components import ContextComponent, WeightsComponent
from analyses.pruning.subnetwork import EffectiveSubnetwork
from analyses.pruning.trace import PruningTrace
from analyses.pruning.weight_norms import WeightNorms
from analyses.result import Analysis, BaseResult, Result, SeriesResult, SweepResult, trace
from analyses.sweeps.correlations import MeasureCorrelations
from analyses.sweeps.measures_by_depth import MeasuresByDepth
from analyses.sweeps.outcome_shares import OutcomeShares
from analyses.sweeps.phase_map import PhaseMap
from analyses.sweeps.plateau_lengths import PlateauLengths
from analyses.sweeps.seed_spread import SeedSpread
from analyses.trees.projection import TreeProjection

ANALYSES: dict[str, Analysis] = {
    cls.__name__: cls
    for cls in (
        GrokkingPhases,
        Generalization,
        FourierSpectrum,
        FourierCircuit,
        NeuronWaves,
        NeuronCircle,
        NeuronWeights,
        ClockPizza,
        AttentionSparsity,
        ProbeAccuracy,
        CompositionGraph,
        WeightNorms,
        PruningTrace,
        EffectiveSubnetwork,
        LinearInterpolation,
        TreeProjection,
        InContextCurve,
        LearningPlateau,
        WeightsComponent,
        ContextComponent,
        InternalMeasures,
        ExampleViews,
        OutcomeShares,
        PhaseMap,
        ModelSelection,
        PlateauLengths,
        SeedSpread,
        MeasuresByDepth,
        MeasureCorrelations,
    )
}

__all__ = [
    "ANALYSES",
    "Analysis",
    "BaseResult",
    "Result",
    "SeriesResult",
    "SweepResult",
    "trace",
    *ANALYSES,  # pyright: ignore[reportUnsupportedDunderAll]  # names of classes imported above
]
