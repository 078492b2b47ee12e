"""What a model of modular arithmetic computes, in the Fourier basis of Z_p."""

from analyses.fourier.basis import (
    drop_frequencies,
    fourier_basis,
    frequency_power,
    frequency_shares,
    keep_frequencies,
    residue_order,
    transform_2d,
)
from analyses.fourier.circuit import FourierCircuit
from analyses.fourier.clock_pizza import ClockPizza
from analyses.fourier.spectrum import FourierSpectrum

__all__ = [
    "ClockPizza",
    "FourierCircuit",
    "FourierSpectrum",
    "drop_frequencies",
    "fourier_basis",
    "frequency_power",
    "frequency_shares",
    "keep_frequencies",
    "residue_order",
    "transform_2d",
]
