"""What single neurons of small networks read and write."""

from analyses.neurons.circle import NeuronCircle
from analyses.neurons.waves import NeuronWaves
from analyses.neurons.weights import NeuronWeights

__all__ = ["NeuronCircle", "NeuronWaves", "NeuronWeights"]
