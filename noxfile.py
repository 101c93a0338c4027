"""The checks of the workspace: `nox -l` lists the sessions, `nox -s NAME` runs one.

The matrix is over what really varies for a user: package x extra x the SDKs' minimum, pinned and newest
versions. Whatever tests behaviour does so from built wheels in an environment of its own, with the source
tree never on its path. The wheels are built once for each call of nox.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PACKAGES = ("core", "loggers", "callbacks", "metrics")
# The extras whose adapters exist.
EXTRAS = (
    "cli",
    "comet",
    "tensorboard",
    "wandb",
    "mlflow",
    "mlflow-skinny",
    "neptune",
    "neptune-scale",
    "trackio",
    "metrics",
    "rich",
    "vision",
)
# These only name an SDK until their adapters come: `nox -s one_extra` tries them too, `make test` does not. deepspeed
# (which compiles when it is installed) and ray are left out.
EXTRAS_TO_COME = ("report",)
TRACKERS = ("comet_ml", "tensorboard", "wandb", "mlflow", "neptune_scale", "trackio")

TORCH = ("-c", "constraints/torch.txt")
PINNED = (*TORCH, "-c", "constraints/dev.txt")
PYTEST = ("pytest", "pytest-timeout")

# What the tests of a package need: our own wheels with their extras, then the packages of others.
# The pictures of a callback are tested with every tracker, hence the loggers beside the callbacks.
TEST_NEEDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "core": (("core[cli,testing]",), ("torchvision", "onnx>=1.16", "onnxscript>=0.6")),
    "loggers": (("loggers[comet,mlflow,neptune-scale,tensorboard,trackio,wandb]", "core[testing]"), ()),
    "callbacks": (
        ("callbacks[parquet,rich]", "core[testing]", "loggers[comet,mlflow,neptune-scale,tensorboard,trackio,wandb]"),
        (),
    ),
    "metrics": (("metrics", "core[testing]"), ("scikit-learn>=1.5",)),
}

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False
# What guards main. The tests come last, so that the last words of `make test` are pytest's.
nox.options.sessions = [
    "lint",
    "types",
    "docs",
    "contracts",
    "build",
    "no_extras",
    *(f"one_extra({extra})" for extra in EXTRAS),
    "packaging",
    "minimums",
    "tests",
]


def _read_pip_option(option: str) -> str:
    pip_config = [sys.executable, "-m", "pip", "config", "get", f"global.{option}"]
    return subprocess.run(pip_config, capture_output=True, text=True, check=False).stdout.strip()


def _hand_pip_settings_to_uv() -> None:
    """Let uv look where pip was told to look: uv reads neither pip's configuration nor its variables."""
    find_links = os.environ.get("PIP_FIND_LINKS") or _read_pip_option("find-links")
    index_url = os.environ.get("PIP_INDEX_URL") or _read_pip_option("index-url")
    if find_links:
        os.environ.setdefault("UV_FIND_LINKS", ",".join(find_links.split()))
    if index_url:
        os.environ.setdefault("UV_DEFAULT_INDEX", index_url)


_hand_pip_settings_to_uv()

# nox repeats its successes at the end; without them the last line of `make test` is pytest's own summary.
logging.getLogger("nox").addFilter(
    lambda record: record.levelname != "SUCCESS" and not str(record.msg).startswith("Ran ")
)


@functools.cache
def _folder_of_this_call() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="fulmen-nox-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _wheels(session: nox.Session) -> Path:
    """Return the folder of this call's wheels and sdists, built by the first session that asks."""
    folder = _folder_of_this_call() / "dist"
    if not folder.exists():
        session.run("uv", "build", "--quiet", "--all-packages", "--out-dir", str(folder), external=True)
    return folder


def _wheel(session: nox.Session, requirement: str) -> str:
    """Return a package's wheel with the same extras: loggers[wandb] -> .../fulmen_loggers-...whl[wandb]."""
    package, bracket, extras = requirement.partition("[")
    name = "fulmen" if package == "umbrella" else f"fulmen_{package}"
    (path,) = _wheels(session).glob(f"{name}-*.whl")
    return f"{path}{bracket}{extras}"


def _install_wheels(session: nox.Session, *requirements: str, others: Sequence[str] = PINNED) -> None:
    """Install our own wheels by path: by name, uv would also ask the index, where a name may be anybody's."""
    named = {requirement.partition("[")[0] for requirement in requirements}
    needs_core = {"core"} - named
    needs_parts = {"callbacks", "loggers"} - named if "umbrella" in named else set()
    ours = [*requirements, *sorted(needs_core | needs_parts)]
    session.install(*(_wheel(session, requirement) for requirement in ours), *others)


def _pytest(session: nox.Session, *arguments: str, require_sdks: Sequence[str] = ()) -> None:
    env = {"FULMEN_WHEELS": str(_wheels(session)), "FULMEN_REQUIRE_SDKS": ",".join(require_sdks)}
    session.run("pytest", *arguments, *session.posargs, env=env)


def _test_package(
    session: nox.Session,
    package: str,
    versions: Sequence[str] = PINNED,
    tools: Sequence[str] = PYTEST,
    arguments: Sequence[str] = (),
) -> None:
    """Test one package from its wheel, with no more beside it than its tests need."""
    ours, others = TEST_NEEDS[package]
    _install_wheels(session, *ours, others=(*tools, *others, *versions))
    _pytest(session, f"tests/{package}", *arguments, require_sdks=_trackers_in(ours))


def _trackers_in(requirements: Sequence[str]) -> list[str]:
    return [tracker for tracker in TRACKERS if any(tracker in requirement for requirement in requirements)]


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff's rules and format; the fragments of every changelog."""
    session.install("ruff", "towncrier", *PINNED)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    for folder in (".", *(f"packages/{package}" for package in PACKAGES)):
        session.run("towncrier", "build", "--draft", "--version", "next", "--dir", folder, silent=True)


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict, on all packages and on the users' programs in tests/typing; Pyright on core and those."""
    # With every SDK, as in an editor: what is an error, or a needless ignore, depends on what is installed.
    packages = (
        "core[cli,testing]",
        "loggers[comet,mlflow,neptune-scale,tensorboard,trackio,wandb]",
        "callbacks[parquet,rich]",
        "metrics",
    )
    editable = itertools.chain.from_iterable(("-e", f"packages/{package}") for package in packages)
    session.install(*editable, "torchvision", "mypy", "pyright[nodejs]", "types-PyYAML", *PINNED)
    session.run("mypy", *(f"packages/{package}/src" for package in PACKAGES))
    session.run("mypy", "tests/typing")
    session.run("pyright")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, strict: a broken link or an unknown name is an error; the programs in it run.

    The pages land in site/.
    """
    session.install("mkdocs", "mkdocs-material", "mkdocstrings[python]", *PINNED)
    session.run("mkdocs", "build", "--strict", "--quiet", env={"NO_MKDOCS_2_WARNING": "1"})
    _install_wheels(session, "umbrella[cli,metrics,mlflow,rich,tensorboard,wandb]", "metrics")
    session.install("matplotlib", "scikit-learn", *PYTEST, *PINNED)
    _pytest(session, "tests/docs")


@nox.session
def contracts(session: nox.Session) -> None:
    """Who may import whom (import-linter), names and sizes of files: reads the sources, runs nothing."""
    session.install("import-linter", *PYTEST, *PINNED)
    _pytest(session, "tests/contracts")


@nox.session
def build(session: nox.Session) -> None:
    """Build the wheels and sdists of all distributions, check their contents, put them into dist/."""
    session.install("packaging", *PYTEST, *PINNED)
    _pytest(session, "tests/packaging/test_contents.py")
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    shutil.copytree(_wheels(session), ROOT / "dist")


@nox.session
def no_extras(session: nox.Session) -> None:
    """fulmen-core alone imports, trains and shows its help."""
    _install_wheels(session, "core")
    session.run("python", "tests/packaging/no_extras.py")
    session.run("fulmen", "--help", silent=True)


@nox.session
@nox.parametrize("extra", (*EXTRAS, *EXTRAS_TO_COME), ids=(*EXTRAS, *EXTRAS_TO_COME))
def one_extra(session: nox.Session, extra: str) -> None:
    """`pip install "fulmen[EXTRA]"` and nothing else: its adapter imports, the others say what they need."""
    parts = ("metrics",) if extra == "metrics" else ()
    _install_wheels(session, f"umbrella[{extra}]", *parts)
    session.run("python", "tests/packaging/one_extra.py", extra)


@nox.session
def packaging(session: nox.Session) -> None:
    """Each wheel alone in a fresh environment; what `import fulmen` may not load; what no file may hold."""
    _install_wheels(
        session,
        "umbrella[comet,mlflow,neptune-scale,rich,tensorboard,trackio,vision,wandb]",
        "metrics",
        others=("matplotlib", "uv", *PYTEST, *PINNED),
    )
    _pytest(session, "tests/packaging", "--ignore=tests/packaging/test_contents.py", require_sdks=TRACKERS)


@nox.session
@nox.parametrize("package", PACKAGES, ids=PACKAGES)
def minimums(session: nox.Session, package: str) -> None:
    """The tests of one package with the lowest version of everything that it names; torch stays."""
    # The lowest resolution prefers plain 2.13.0 to 2.13.0+cpu, so the torch at hand is found out first.
    # The tools come now, at their pinned versions: they have no lower bounds of their own.
    session.install("torch", *PYTEST, *PINNED)
    torch_at_hand = session.run(
        "python",
        "-c",
        "from importlib.metadata import version; print('torch==' + version('torch'))",
        silent=True,
    )
    exact_torch = Path(session.create_tmp()) / "torch.txt"
    exact_torch.write_text(str(torch_at_hand))
    # Only what is asked for directly is lowered, not what a wheel requires; hence its pyproject.toml.
    named = [requirement.partition("[")[0] for requirement in TEST_NEEDS[package][0]]
    asked = itertools.chain.from_iterable(("-r", f"packages/{name}/pyproject.toml") for name in named)
    lowest = ("--all-extras", "--no-sources", "--upgrade", "--resolution", "lowest-direct")
    _test_package(session, package, (*asked, *lowest, *TORCH, "-c", str(exact_torch)), tools=())


@nox.session
@nox.parametrize("package", PACKAGES, ids=PACKAGES)
def tests(session: nox.Session, package: str) -> None:
    """The tests of one package, from its wheel, with the pinned SDKs."""
    _test_package(session, package)


@nox.session
@nox.parametrize("package", ("core", "loggers"), ids=("core", "loggers"))
def slow(session: nox.Session, package: str) -> None:
    """The tests that take minutes: processes killed again and again."""
    _test_package(session, package, arguments=("-m", "slow"))


@nox.session
@nox.parametrize("package", PACKAGES, ids=PACKAGES)
def newest(session: nox.Session, package: str) -> None:
    """The tests of one package with the newest SDKs that resolve; torch stays."""
    _test_package(session, package, TORCH)


@nox.session(python=["3.10", "3.11", "3.12", "3.13"])
def tests_python(session: nox.Session) -> None:
    """The tests of all packages on one Python, where a torch for it is at hand."""
    if not _torch_is_at_hand(session):
        session.skip(
            f"the configured find-links hold no torch for Python {session.python}; "
            "FULMEN_TORCH_FROM_INDEX=1 takes the index's, with its gigabytes of CUDA"
        )
    for package in PACKAGES:
        _test_package(session, package)


def _torch_is_at_hand(session: nox.Session) -> bool:
    """Say whether torch comes from where it was prepared: the find-links, where any are configured."""
    if "UV_FIND_LINKS" not in os.environ or os.environ.get("FULMEN_TORCH_FROM_INDEX"):
        return True
    dry_run = ("uv", "pip", "install", "--dry-run", "--no-deps", "--no-index", "torch", *TORCH)
    output = session.run(*dry_run, external=True, silent=True, success_codes=[0, 1, 2])
    return "Would install" in str(output)


@nox.session
def demo(session: nox.Session) -> None:
    """Train examples/digits.py; `nox -s demo -- --logger wandb` for another tracker."""
    tracker = next((word for word in session.posargs if word in TRACKERS), "tensorboard")
    _install_wheels(session, f"umbrella[{tracker},vision]", "metrics", others=("scikit-learn", *PINNED))
    session.run("python", "examples/digits.py", *session.posargs)


@nox.session
def parity(session: nox.Session) -> None:
    """The same programs in Lightning and in Fulmen, bit for bit; `-- --random 200` for programs drawn at random."""
    others = Path(session.create_tmp()) / "lightning"
    session.run("uv", "venv", "--quiet", "--clear", "--python", str(session.python or sys.executable), str(others))
    lightning = str(others / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    session.run("uv", "pip", "install", "--quiet", "--python", lightning, "lightning==2.6.6", "numpy", *TORCH)
    _install_wheels(session, "umbrella")
    session.run("python", "benchmarks/parity.py", "--lightning", lightning, "--fulmen", "python", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """The cost of a step over a hand-written loop, beside Lightning's and Accelerate's."""
    _install_wheels(session, "umbrella[tensorboard]", others=("lightning", "accelerate", *PINNED))
    session.run("python", "benchmarks/overhead.py", *session.posargs)
