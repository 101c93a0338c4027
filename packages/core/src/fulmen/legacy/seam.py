"""The seam: what ``trainer.py`` asks of this package, and nothing else of it."""

from fulmen.legacy.arguments import modern_arguments
from fulmen.legacy.hooks import OldHooks, callbacks_for

__all__ = ["OldHooks", "callbacks_for", "modern_arguments"]
