"""The published ooDML split files, which are pickles, read without running what is in them."""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from oodml.errors import FormatError, SplitError
from oodml.split.episodes import PublishedEpisode
from oodml.split.sequence import Names, Split, SplitSequence

LARGEST = 1 << 28


class _Kind:
    """Stands for `numpy.dtype`: keeps what it was told and knows text and float64 only."""

    def __init__(self, code: str, *_flags: object) -> None:
        self.code = code

    def __setstate__(self, state: object) -> None:
        """The byte order and sizes, which the two kinds known here do not need."""


def _scalar(kind: _Kind, data: bytes) -> str | float:
    """Stands for `numpy.core.multiarray.scalar`."""
    if not isinstance(kind, _Kind) or not isinstance(data, bytes):
        raise pickle.UnpicklingError("a scalar of unknown form")
    if kind.code.startswith("U"):
        return data.decode("utf-32-le").rstrip("\0")
    if kind.code == "f8" and len(data) == 8:
        return float(struct.unpack("<d", data)[0])
    raise pickle.UnpicklingError(f"a scalar of type {kind.code!r}")


class _Restricted(pickle.Unpickler):
    """An unpickler that knows two names, both of them ours."""

    known: Mapping[tuple[str, str], Callable[..., Any]] = {
        ("numpy.core.multiarray", "scalar"): _scalar,
        ("numpy._core.multiarray", "scalar"): _scalar,
        ("numpy", "dtype"): _Kind,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.known:
            raise pickle.UnpicklingError(f"it calls {module}.{name}")
        return self.known[module, name]


def import_official(
    path: Path, *, dataset: str | None = None, episodes: bool = False
) -> SplitSequence:
    """The sequence of a published pickle: class lists, distances and validation halves.

    `dataset` defaults to the file's name without `_splits`. A "/" in a class name becomes "-", as
    in folder names; `renamed` keeps the published spelling. With `episodes`, the published few-shot
    supports too. Nothing in the file is executed.
    """
    records = _load(path)
    try:
        numbered = [(rank, records[key]) for rank, key in enumerate(sorted(records), start=1)]
        names = sorted({str(n) for _, r in numbered for side in ("train", "test") for n in r[side]})
        renamed = {name: name.replace("/", "-") for name in names if "/" in name}
        splits = [_split(rank, record, renamed) for rank, record in numbered]
        supports = [e for rank, record in numbered for e in _episodes(rank, record, renamed)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(
            f"{path} is no published ooDML split file ({error!r}); expected, for each split, "
            "train, test, "
            "split_train, split_val and fid."
        ) from None
    except SplitError as error:
        raise SplitError(f"{path}: {error}") from None
    name = dataset or path.stem.removesuffix("_splits")
    return SplitSequence(
        name,
        tuple(splits),
        measure="frechet",
        search="ooDML",
        renamed=renamed,
        published_episodes=tuple(supports) if episodes else (),
    )


def _load(path: Path) -> dict[Any, Any]:
    try:
        data = path.read_bytes() if path.stat().st_size <= LARGEST else b""
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error}.") from None
    try:
        records = _Restricted(io.BytesIO(data)).load()
    # What a broken pickle raises is not listed anywhere; none of it is our own doing.
    except Exception as error:  # noqa: BLE001
        raise FormatError(
            f"{path} is refused as a published split file: {error}. Only plain lists, text and "
            "numbers are read."
        ) from None
    if not isinstance(records, dict) or not records:
        raise FormatError(f"{path} holds no splits; expected a dictionary of them.")
    return records


def _split(rank: int, record: Mapping[str, Any], renamed: Mapping[str, str]) -> Split:
    def side(key: str) -> Names:
        return tuple(renamed.get(str(name), str(name)) for name in record[key])

    split = Split(rank, float(record["fid"]), side("split_train"), side("split_val"), side("test"))
    if set(split.train_side) != set(side("train")):
        raise SplitError(f"split {rank}: split_train and split_val do not make up train.")
    return split


def _episodes(
    rank: int, record: Mapping[str, Any], renamed: Mapping[str, str]
) -> Iterator[PublishedEpisode]:
    """The episodes of a split; file names become ids, which are below their class's folder."""
    for shots, episodes in sorted(record.get("test_episodes", {}).items()):
        for index, support in sorted(episodes.items()):
            ids = {}
            for name, files in support.items():
                own = renamed.get(str(name), str(name))
                ids[own] = tuple(f"{own}/{file}" for file in files)
            yield PublishedEpisode(rank, int(shots), int(index), ids)
