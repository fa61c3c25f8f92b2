"""What is installed is whole: data, template and types travel with the wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [path] = folder.glob("*.whl")
    return path


def test_a_wheel_holds_code_and_data(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "oodml").rglob("*.py")}
    shipped = {f"oodml/_shipped/splits/{p.name}" for p in (ROOT / "splits").iterdir()}
    assert modules | shipped | {"oodml/py.typed", "oodml/report/templates/page.html.j2"} <= names
    assert not [name for name in names if name.startswith("tests")]


def test_an_installed_package_finds_its_split_files(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import oodml, oodml.store as s; folder = s.shipped('splits'); print(folder); "
        "[oodml.read_sequence(path) for path in folder.glob('*.json')]"
    )
    command = [
        sys.executable,
        "-I",
        "-c",
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}",
    ]
    result = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert result.stdout.strip() == str(tmp_path / "oodml" / "_shipped" / "splits")
