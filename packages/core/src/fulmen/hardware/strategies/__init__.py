"""Strategies: how the processes of a run share the model and the data."""
