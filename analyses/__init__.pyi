"""Every analysis, a line each, and what else `analyses` gives; Python reads these lines too."""

from collections.abc import Mapping

from analyses.result import Analysis as Analysis
from analyses.result import BaseResult as BaseResult
from analyses.result import Result as Result
from analyses.result import SeriesResult as SeriesResult
from analyses.result import SweepResult as SweepResult
from analyses.result import trace as trace

# In the order of lists and pages.
from analyses.dynamics.grokking import GrokkingPhases as GrokkingPhases
from analyses.dynamics.generalization import Generalization as Generalization
from analyses.fourier.spectrum import FourierSpectrum as FourierSpectrum
from analyses.fourier.circuit import FourierCircuit as FourierCircuit
from analyses.neurons.waves import NeuronWaves as NeuronWaves
from analyses.neurons.circle import NeuronCircle as NeuronCircle
from analyses.neurons.weights import NeuronWeights as NeuronWeights
from analyses.fourier.clock_pizza import ClockPizza as ClockPizza
from analyses.attention.sparsity import AttentionSparsity as AttentionSparsity
from analyses.probes.accuracy import ProbeAccuracy as ProbeAccuracy
from analyses.attention.composition import CompositionGraph as CompositionGraph
from analyses.pruning.weight_norms import WeightNorms as WeightNorms
from analyses.pruning.trace import PruningTrace as PruningTrace
from analyses.pruning.subnetwork import EffectiveSubnetwork as EffectiveSubnetwork
from analyses.dynamics.interpolation import LinearInterpolation as LinearInterpolation
from analyses.trees.projection import TreeProjection as TreeProjection
from analyses.in_context.curve import InContextCurve as InContextCurve
from analyses.dynamics.plateau import LearningPlateau as LearningPlateau
from analyses.probes.components import WeightsComponent as WeightsComponent
from analyses.probes.components import ContextComponent as ContextComponent
from analyses.dynamics.internal_measures import InternalMeasures as InternalMeasures
from analyses.circuits.patching import ActivationPatching as ActivationPatching
from analyses.circuits.ablation import HeadAblation as HeadAblation
from analyses.circuits.neuron_ablation import NeuronAblation as NeuronAblation
from analyses.circuits.logit_attribution import LogitAttribution as LogitAttribution
from analyses.circuits.edges import EdgeCircuit as EdgeCircuit
from analyses.circuits.birth import CircuitBirth as CircuitBirth
from analyses.circuits.induction import InductionScores as InductionScores
from analyses.circuits.local_learning import LocalLearningCoefficient as LocalLearningCoefficient
from analyses.attention.example_views import ExampleViews as ExampleViews
from analyses.sweeps.outcome_shares import OutcomeShares as OutcomeShares
from analyses.sweeps.phase_map import PhaseMap as PhaseMap
from analyses.in_context.selection import ModelSelection as ModelSelection
from analyses.sweeps.plateau_lengths import PlateauLengths as PlateauLengths
from analyses.sweeps.seed_spread import SeedSpread as SeedSpread
from analyses.sweeps.measures_by_depth import MeasuresByDepth as MeasuresByDepth
from analyses.circuits.overlap import CircuitOverlap as CircuitOverlap
from analyses.sweeps.correlations import MeasureCorrelations as MeasureCorrelations

class _Analyses(Mapping[str, Analysis]):
    def add(self, cls: Analysis) -> None: ...

ANALYSES: _Analyses
