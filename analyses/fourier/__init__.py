"""What a model of modular arithmetic computes, in the Fourier basis of Z_p."""

from analyses.fourier.basis import (
    best_frequencies,
    class_writes,
    drop_frequencies,
    fourier_basis,
    frequency_power,
    frequency_shares,
    keep_frequencies,
    keys_by_share,
    keys_by_vote,
    orders_of,
    residue_order,
    transform_2d,
    without_rounding,
)
from analyses.fourier.circuit import FourierCircuit
from analyses.fourier.clock_pizza import ClockPizza
from analyses.fourier.logit_waves import answering_neurons
from analyses.fourier.spectrum import FourierSpectrum

__all__ = [
    "ClockPizza",
    "FourierCircuit",
    "FourierSpectrum",
    "answering_neurons",
    "best_frequencies",
    "class_writes",
    "drop_frequencies",
    "fourier_basis",
    "frequency_power",
    "frequency_shares",
    "keep_frequencies",
    "keys_by_share",
    "keys_by_vote",
    "orders_of",
    "residue_order",
    "transform_2d",
    "without_rounding",
]
