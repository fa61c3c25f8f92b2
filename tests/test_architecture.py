"""The shape of the package: layers, light imports, short files, no pickle."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import oodml

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "oodml"
FILES = sorted(PACKAGE.rglob("*.py"))
LAYERS = [
    "errors",
    "store",
    "registry",
    "data",
    "embed",
    "shift",
    "split",
    "metrics",
    "methods",
    "adapt",
    "score",
    "curve",
    "sweep",
    "board",
    "plot",
    "report",
    "bench",
    "doctor",
    "demo",
    "cli",
]
LONGEST = 400
HEAVY = ("torch", "torchvision", "sklearn", "ot", "matplotlib")


def layer_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "oodml" else None


def imports_of(tree: ast.AST) -> list[str]:
    """Every module that is imported, inside functions too; a relative import starts with a dot."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found.append(module)
            if module == "oodml":
                found += [f"oodml.{alias.name}" for alias in node.names]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_from_above_only(path: Path) -> None:
    here = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    own = layer_of(here.removesuffix(".__init__"))
    for module in imports_of(ast.parse(path.read_text())):
        assert not module.startswith("."), f"{path} imports relatively"
        layer = layer_of(module)
        if own is None or layer is None or layer == own:
            continue
        assert layer in LAYERS, f"{path} imports {module}, which is in no layer"
        assert LAYERS.index(layer) < LAYERS.index(own), f"{path} ({own}) imports {module} below it"


def test_every_module_is_in_a_layer() -> None:
    found = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}
    assert found - {"__init__"} <= set(LAYERS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_pickle_is_imported_in_one_place(path: Path) -> None:
    uses = {"pickle", "cloudpickle", "dill", "joblib"} & set(
        imports_of(ast.parse(path.read_text()))
    )
    assert not uses or path == PACKAGE / "split" / "official.py"


@pytest.mark.parametrize(
    "code",
    [
        "import oodml",
        "import oodml; dir(oodml)",
        "import oodml.cli",
        "import oodml.cli; oodml.cli.main(['--help'], standalone_mode=False)",
        "import oodml.data, oodml.metrics, oodml.methods, oodml.shift, oodml.split, oodml.sweep",
        "import oodml.curve, oodml.plot, oodml.report",
    ],
)
def test_imports_are_light(code: str) -> None:
    look = f"{code}\nimport sys; print('loaded', [name for name in {HEAVY} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", look], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.splitlines()[-1] == "loaded []"


def test_the_public_names_are_those_of_all() -> None:
    assert oodml.__all__ == sorted(oodml.__all__)
    for name in oodml.__all__:
        assert getattr(oodml, name) is not None
        assert name not in LAYERS, f"{name} is the name of a layer"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = oodml.nothing


def test_public_functions_and_classes_say_what_they_give() -> None:
    for name in oodml.__all__:
        assert getattr(oodml, name).__doc__, f"oodml.{name} has no docstring"
