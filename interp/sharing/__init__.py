"""Runs given away, and taken over: to the Hugging Face Hub and from it."""
