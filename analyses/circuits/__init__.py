"""Which part of a model matters, and since when: patches, ablations, edges, induction heads."""
