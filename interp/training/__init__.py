"""Trains one model, or a stack of them, step by step."""
