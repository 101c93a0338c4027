"""Who may know whom: import-linter's contracts in pyproject.toml, and what they cannot express."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted(ROOT.glob("packages/*/src"))
PUBLIC_FACES = {
    "fulmen.advice",
    "fulmen.audio",
    "fulmen.callback",
    "fulmen.datamodule",
    "fulmen.errors",
    "fulmen.flops",
    "fulmen.gradients",
    "fulmen.graph",
    "fulmen.histogram",
    "fulmen.hyperparameters",
    "fulmen.legacy.spelling",
    "fulmen.logger",
    "fulmen.media",
    "fulmen.memory",
    "fulmen.metric",
    "fulmen.module",
    "fulmen.optimizers",
    "fulmen.preflight",
    "fulmen.rank",
    "fulmen.seed",
    "fulmen.shared_parameters",
    "fulmen.summary",
    "fulmen.tuner",
    "fulmen.video",
    "fulmen.vision",
}


def test_contracts_of_import_linter_hold() -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, SOURCES))}
    lint_imports = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    outcome = subprocess.run(lint_imports, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


class _Imports(ast.NodeVisitor):
    """Collects what a module imports when it runs: not what stands under `if TYPE_CHECKING`."""

    def __init__(self) -> None:
        self.modules: set[str] = set()

    def visit_If(self, node: ast.If) -> None:
        only_for_types = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for statement in node.orelse if only_for_types else [*node.body, *node.orelse]:
            self.visit(statement)

    def visit_Import(self, node: ast.Import) -> None:
        self.modules.update(alias.name for alias in node.names)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        # In `from fulmen import media` the module is the imported name.
        named = [f"fulmen.{alias.name}" for alias in node.names if alias.name.islower()]
        self.modules.update(named if node.module == "fulmen" else [str(node.module)])


def _imported_modules(path: Path) -> set[str]:
    imports = _Imports()
    imports.visit(ast.parse(path.read_text(encoding="utf-8")))
    return imports.modules


def test_plugins_import_only_the_public_faces_of_core() -> None:
    """The same contract as import-linter's, but as a list of what may be: a new room of core is closed."""
    plugins = [path for source in SOURCES if source.parent.name != "core" for path in source.rglob("*.py")]
    strangers = {
        f"{path.relative_to(ROOT)} imports {module}"
        for path in plugins
        for module in _imported_modules(path)
        if module.startswith("fulmen.") and module not in PUBLIC_FACES
    }
    assert strangers == set()


def test_legacy_is_reached_at_its_seams_only() -> None:
    core = ROOT / "packages/core/src/fulmen"
    outside = [path for path in core.rglob("*.py") if path.relative_to(core).parts[0] != "legacy"]
    importers = {
        path.relative_to(core).as_posix()
        for path in outside
        if any(name == "fulmen.legacy" or name.startswith("fulmen.legacy.") for name in _imported_modules(path))
    }
    # `trainer.py` knows `seam`; the package and its faces know `import_paths`, for names that they do not have;
    # `hyperparameters.py` warns of `self.hparams = hparams`.
    assert importers == {"trainer.py", "__init__.py", "registry.py", "hyperparameters.py"}


def test_no_module_of_ours_uses_a_relative_import() -> None:
    relative = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for source in SOURCES
        for path in source.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []
