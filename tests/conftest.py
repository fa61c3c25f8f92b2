"""What every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Caches go to a temporary folder, not to the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OODML_HOME", str(tmp_path_factory.mktemp("oodml-home")))
        yield


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real data, which is not part of the project."""
    folder = (ROOT / os.environ.get("OODML_TEST_DATA", "../shared/data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no test data: {folder} does not exist; set OODML_TEST_DATA to where it lies")
    return folder
