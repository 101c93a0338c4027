"""Programs of Lightning 0.x and 1.x: old argument names, epoch-end hooks, and steps that return what they log.

Only ``trainer.py`` imports this package, where it meets something that it does not know itself. Each old spelling warns
once with its code, the modern line, and the place in the user's program; ``docs/legacy.md`` lists them.
"""

from fulmen.legacy.arguments import modern_arguments
from fulmen.legacy.hooks import OldHooks, callbacks_for

__all__ = ["OldHooks", "callbacks_for", "modern_arguments"]
