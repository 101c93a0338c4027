"""Loops: training, evaluation, prediction, and one optimization step; each reads top to bottom."""
