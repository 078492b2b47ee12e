"""What a model of modular arithmetic computes, in the Fourier basis of Z_p."""

from analyses.fourier.basis import fourier_basis, frequency_power
from analyses.fourier.circuit import FourierCircuit
from analyses.fourier.clock_pizza import ClockPizza
from analyses.fourier.spectrum import FourierSpectrum

__all__ = ["ClockPizza", "FourierCircuit", "FourierSpectrum", "fourier_basis", "frequency_power"]
