"""Which part of a model matters: pairs of inputs, and edges corrupted one by one."""
