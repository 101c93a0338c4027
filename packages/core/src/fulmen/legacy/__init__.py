"""Programs of Lightning 0.x and 1.x, and the import paths of the field.

``seam.py`` is where ``trainer.py`` asks about what it does not know itself; ``import_paths.py`` is asked by ``fulmen``
and its faces about names that they do not have. Each old spelling warns once with its code, the modern line, and the
place in the user's program; ``docs/legacy.md`` lists them.
"""
