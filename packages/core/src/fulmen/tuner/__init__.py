"""Tuner: finds a learning rate and a batch size by trying some, and leaves no trace of the trials."""

from fulmen.tuner.lr_finder import LRFinder
from fulmen.tuner.tuning import Tuner

__all__ = ["LRFinder", "Tuner"]
