"""Checkpoints: one file, written whole, read without running code; and the random state in it."""
