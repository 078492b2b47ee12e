"""Measures runs and sweeps with analyses, and saves what they found."""
