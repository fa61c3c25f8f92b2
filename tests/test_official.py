"""The published split files: read, never run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from oodml.errors import FormatError, SplitError
from oodml.split import import_official


def published(path: Path, **changes: object) -> Path:
    """A small file of the published form."""
    names = [
        np.str_(name) for name in ("Ram C/V Cargo Van", "Audi", "BMW", "Fiat", "smart", "Volvo")
    ]
    record: dict[str, object] = {
        "train": names[:3],
        "test": names[3:],
        "split_train": names[:2],
        "split_val": names[2:3],
        "fid": np.float64(8.5),
        "test_episodes": {},
    }
    record |= changes
    harder = record | {"train": names[3:], "test": names[:3], "fid": np.float64(9.5)}
    harder |= {"split_train": names[3:5], "split_val": names[5:]}
    path.write_bytes(pickle.dumps({2: harder, 1: record}, protocol=3))
    return path


def test_a_published_file_is_read(tmp_path: Path) -> None:
    sequence = import_official(published(tmp_path / "cars196_splits.pkl"))
    assert sequence.dataset == "cars196"
    assert [split.shift for split in sequence.splits] == [8.5, 9.5]
    assert sequence.splits[0].train == ("Audi", "Ram C-V Cargo Van")
    assert sequence.splits[0].val == ("BMW",)
    assert sequence.renamed == {"Ram C/V Cargo Van": "Ram C-V Cargo Van"}
    assert import_official(tmp_path / "cars196_splits.pkl", dataset="x").dataset == "x"


class Attack:
    """What a hostile pickle looks like: a call made on loading."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> object:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_in_a_file_is_run(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "marker"
    for number, attack in enumerate(
        [
            Attack(os.system, f"touch {marker}"),
            Attack(eval, f"open({str(marker)!r}, 'w')"),
            Attack(Path.touch, marker),
            Attack(np.save, marker, 1),
        ]
    ):
        path = tmp_path / f"{number}.pkl"
        path.write_bytes(pickle.dumps({1: {"train": attack}}, protocol=protocol))
        with pytest.raises(FormatError, match="is refused as a published split file: it calls"):
            import_official(path)
    assert not list(tmp_path.glob("marker*"))
    # The control: the same bytes do act when they are really unpickled.
    pickle.loads((tmp_path / "2.pkl").read_bytes())
    assert marker.exists()


@pytest.mark.parametrize(
    "scalar",
    [
        np.int64(1),
        np.datetime64("2021-01-01"),
        # An object scalar carries a pickle of its own, which numpy would load without restriction.
        Attack(np._core.multiarray.scalar, np.dtype("O"), pickle.dumps(1)),
        Attack(np._core.multiarray.scalar, "f8", b"12345678"),
    ],
)
def test_other_scalars_are_refused(tmp_path: Path, scalar: object) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({1: {"fid": scalar}}, protocol=3))
    with pytest.raises(FormatError, match=r"is refused as a published split file: a scalar of"):
        import_official(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is refused"),
        (b"\x80\x03K\x01.", "holds no splits"),
        (b"\x80\x03}.", "holds no splits"),
        (b"text", "is refused"),
        (pickle.dumps({1: {"train": []}}), "is no published ooDML split file"),
        (pickle.dumps({1: 5}), "is no published ooDML split file"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message):
        import_official(path)


def test_absent_and_inconsistent_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"none\.pkl cannot be read"):
        import_official(tmp_path / "none.pkl")
    path = published(tmp_path / "x.pkl", split_val=[])
    with pytest.raises(
        SplitError, match=r"x\.pkl: split 1: split_train and split_val do not make up"
    ):
        import_official(path)


def test_the_real_file(test_data: Path) -> None:
    sequence = import_official(test_data / "oodml_official" / "cars196_splits.pkl")
    assert sequence.dataset == "cars196"
    sizes = [(len(s.train), len(s.val), len(s.test)) for s in sequence.splits]
    assert sizes == [(73, 25, 98)] * 5 + [(64, 22, 86), (55, 19, 74), (46, 16, 62)]
    shifts = [8.59123, 14.33454, 32.17797, 43.58433, 63.28612, 86.12381, 101.17231, 123.03106]
    assert [s.shift for s in sequence.splits] == pytest.approx(shifts, abs=1e-5)
    assert len(sequence.classes) == 196
    folder = test_data / "cars196_half" / "images"
    assert set(sequence.classes) == {path.name for path in folder.iterdir()}
