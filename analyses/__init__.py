"""Turns tensors into results: one question a file, one line here."""

from analyses.attention_sparsity import AttentionSparsity
from analyses.example_views import ExampleViews
from analyses.fourier_circuit import FourierCircuit
from analyses.fourier_spectrum import FourierSpectrum
from analyses.grokking_phases import GrokkingPhases
from analyses.result import Analysis, Finding, Result, SeriesResult, SweepResult, trace
from analyses.weight_norms import WeightNorms

ANALYSES: dict[str, Analysis] = {
    "GrokkingPhases": GrokkingPhases,
    "FourierSpectrum": FourierSpectrum,
    "FourierCircuit": FourierCircuit,
    "AttentionSparsity": AttentionSparsity,
    "WeightNorms": WeightNorms,
    "ExampleViews": ExampleViews,
}

__all__ = [
    "ANALYSES",
    "Analysis",
    "AttentionSparsity",
    "ExampleViews",
    "Finding",
    "FourierCircuit",
    "FourierSpectrum",
    "GrokkingPhases",
    "Result",
    "SeriesResult",
    "SweepResult",
    "WeightNorms",
    "trace",
]
