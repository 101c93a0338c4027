"""HparamsFile: a run's hyper-parameters, for people to read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class HparamsFile:
    """``hparams.yaml`` of a run: all hyper-parameters that this process logged, later ones over earlier.

    Args:
        path: the file; written when there is something to write.
    """

    def __init__(self, path: Path) -> None:
        # Not with this module, for the sake of `import fulmen`; not in `update`, which runs on the journal's thread: a
        # loader's worker forked during an import would wait for that import for ever.
        import yaml

        self._dump = yaml.safe_dump
        self._path = path
        self._params: dict[str, Any] = {}

    def update(self, params: Mapping[str, Any]) -> None:
        """Add hyper-parameters and replace the file, so that a reader never sees half of it."""
        self._params.update(params)
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        temporary.write_text(self._dump(self._params, sort_keys=False, allow_unicode=True), encoding="utf-8")
        os.replace(temporary, self._path)
