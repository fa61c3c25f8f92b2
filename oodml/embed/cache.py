"""The embedding cache: a folder for each encoder and data set, named by what its vectors depend on.

The key covers the encoder's identity (weights' sha256, transform, precision), the content of the
data and the version of the reading of images, never a name. While it is filled, a folder holds
shards of a fixed number of rows, each written to a temporary file and renamed, with the sha256 of
its numbers in its name: so whatever is there is whole, two processes that write the same shard
cannot spoil it, and an interrupted extraction goes on at the first missing shard. Complete, all
rows are in one `.npy` file, which is mapped into memory; `sealed.json` keeps the digests.
"""

from __future__ import annotations

import io
import logging
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oodml.embed import claims
from oodml.embed.reading import READING
from oodml.embed.spec import EncoderSpec
from oodml.errors import FormatError
from oodml.store import array_digest, digest, home, read_json, replacing, write_json

Array = np.ndarray[Any, Any]
VERSION = 2
# Rows a shard: 128 images of 224 x 224 take a CPU from one second (MobileNetV2) to half a minute
# (ViT-B), which is what an interruption costs; to write them takes 5 ms. Small images go by more.
_SHARD_PIXELS = 128 * 224 * 224
_FEWEST, _MOST = 16, 8192
_SHARD = re.compile(r"shard-(\d{6})-([0-9a-f]{64})\.npy")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cache:
    """The vectors `(rows, dim)` float32 in a folder, in shards of `step` rows until complete."""

    folder: Path
    rows: int
    dim: int
    step: int

    @classmethod
    def of(cls, spec: EncoderSpec, fingerprint: str, rows: int, dataset: str) -> Cache:
        """The cache of an encoder's vectors on the data of a content fingerprint."""
        step = shard_rows(spec.size)
        key = digest(["embeddings", VERSION, spec.identity(), fingerprint, READING, step])
        facts = {"encoder": spec.to_json(), "identity": spec.identity(), "reading": READING}
        facts |= {"content_fingerprint": fingerprint, "dataset": dataset}
        return cls.create(home() / "embeddings" / key, (rows, spec.dim), step, facts)

    @classmethod
    def create(
        cls, folder: Path, shape: tuple[int, int], step: int, facts: Mapping[str, Any]
    ) -> Cache:
        """The cache in a folder, begun where it is not there; `facts` are for its manifest."""
        cache = cls(folder, *shape, step)
        manifest = folder / "manifest.json"
        try:
            if manifest.exists():
                with suppress(OSError):  # the time of its last use; a cache may be read-only
                    os.utime(manifest)
                return cache
        except OSError as error:
            raise FormatError(
                f"Cannot use the cache {folder}: {error.strerror or error}; set OODML_HOME to a "
                "folder of your own."
            ) from None
        body = {**facts, "rows": cache.rows, "dim": cache.dim, "step": step}
        write_json(manifest, "embedding-cache", body, version=VERSION)
        return cache

    @classmethod
    def read(cls, folder: Path) -> Cache:
        """The cache in a folder; `FormatError` where there is none of this version."""
        facts = read_json(folder / "manifest.json", "embedding-cache", version=VERSION)
        try:
            return cls(folder, *(int(facts[key]) for key in ("rows", "dim", "step")))
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"{folder}/manifest.json is damaged ({error!r}).") from None

    def ranges(self) -> list[range]:
        """The rows of every shard."""
        starts = range(0, self.rows, self.step)
        return [range(start, min(start + self.step, self.rows)) for start in starts]

    # Shards ----------------------------------------------------------------------------------

    def has(self, shard: int) -> bool:
        """Whether a shard is there."""
        pattern = f"shard-{shard:06}-*.npy"
        return self.digests() is not None or any(self.folder.glob(pattern))

    def missing(self) -> list[int]:
        """The shards that are not there; one of wrong size is reported, removed and missing."""
        if self.digests() is not None:
            return []
        found = self.shards()
        ranges = self.ranges()
        for shard, path in list(found.items()):
            if not _fits(path, len(ranges[shard]), self.dim):
                _log.warning("%s is damaged and is made anew.", path)
                path.unlink(missing_ok=True)
                del found[shard]
        return [shard for shard in range(len(ranges)) if shard not in found]

    def shards(self) -> dict[int, Path]:
        """The files of the shards that are there, by number."""
        try:
            names = sorted(path.name for path in self.folder.iterdir())
        except FileNotFoundError:
            raise FormatError(f"{self.folder} was removed while it was used; try again.") from None
        matches = map(_SHARD.fullmatch, names)
        count = len(self.ranges())
        found = {int(match[1]): self.folder / match[0] for match in matches if match}
        return {shard: path for shard, path in found.items() if shard < count}

    def claim(self, shard: int) -> Path:
        """The file that says who works on a shard (`oodml.embed.claims`)."""
        return self.folder / f"shard-{shard:06}.claim"

    def put(self, shard: int, vectors: Array) -> None:
        """Write a shard."""
        vectors = np.ascontiguousarray(vectors, "<f4")
        name = f"shard-{shard:06}-{array_digest(vectors)}.npy"
        with replacing(self.folder / name) as temporary, temporary.open("wb") as stream:
            stream.write(_header(*vectors.shape))
            stream.write(vectors.data)

    # All rows --------------------------------------------------------------------------------

    def seal(self) -> None:
        """Put all shards into one file. Raises `FileNotFoundError` where another process did."""
        found = self.shards()
        digests = [found[shard].stem.rsplit("-", 1)[1] for shard in range(len(self.ranges()))]
        name = self.folder / f"vectors-{digest(digests)[:16]}.npy"
        with replacing(name) as temporary, temporary.open("wb") as stream:
            header = _header(self.rows, self.dim)
            stream.write(header)
            for shard, rows in enumerate(self.ranges()):
                stream.write(found[shard].read_bytes()[len(_header(len(rows), self.dim)) :])
        facts = {"file": name.name, "shards": digests}
        write_json(self.folder / "sealed.json", "embedding-cache-seal", facts, version=VERSION)
        old = [path for path in self.folder.glob(".*.tmp") if claims.is_stale(path)]
        for path in [*found.values(), *old]:
            path.unlink(missing_ok=True)

    def digests(self) -> list[str] | None:
        """The sha256 of every shard of a complete cache, else None.

        Where the file of all rows has another size than it should, what is whole of it is kept.
        """
        found = self._sealed()
        if found is None:
            return None
        if not _fits(found[0], self.rows, self.dim):
            _log.warning("%s is damaged; what is missing of it is made anew.", found[0])
            self.reopen()
            return None
        return found[1]

    def vectors(self) -> Array | None:
        """All rows `(rows, dim)`, mapped into memory; None where some are missing."""
        if self.digests() is None or (found := self._sealed()) is None:
            return None
        offset = len(_header(self.rows, self.dim))
        return np.memmap(found[0], "<f4", "r", offset=offset, shape=(self.rows, self.dim))

    def damaged(self) -> list[int]:
        """The shards that are there and whose numbers are not those that were written."""
        sealed = self._sealed()
        if sealed:
            read = {shard: (sealed[0], digest) for shard, digest in enumerate(sealed[1])}
        else:
            read = {n: (path, path.stem.rsplit("-", 1)[1]) for n, path in self.shards().items()}
        return [
            shard
            for shard, (path, expected) in read.items()
            if (rows := self._rows_of(shard, path)) is None or array_digest(rows) != expected
        ]

    def reopen(self) -> list[int]:
        """Remove the damaged shards, which are then missing; their numbers."""
        bad, sealed = self.damaged(), self._sealed()
        if sealed and (bad or not _fits(sealed[0], self.rows, self.dim)):
            for shard in sorted({*range(len(self.ranges()))} - {*bad}):
                rows = self._rows_of(shard, sealed[0])
                assert rows is not None
                self.put(shard, rows)
            (self.folder / "sealed.json").unlink(missing_ok=True)
            sealed[0].unlink(missing_ok=True)
        elif bad:
            files = self.shards()
            for shard in bad:
                files[shard].unlink(missing_ok=True)
        return bad

    def _rows_of(self, shard: int, path: Path) -> Array | None:
        """The rows of a shard in a file of its own or of all rows; None where they are not."""
        rows = self.ranges()[shard]
        alone = path.name.startswith("shard")
        header = _header(len(rows) if alone else self.rows, self.dim)
        start = len(header) + (0 if alone else 4 * self.dim * rows.start)
        try:
            with path.open("rb") as stream:
                stream.seek(start)
                content = stream.read(4 * self.dim * len(rows))
        except OSError:
            return None
        if len(content) < 4 * self.dim * len(rows):
            return None
        return np.frombuffer(content, "<f4").reshape(len(rows), self.dim)

    def _sealed(self) -> tuple[Path, list[str]] | None:
        """The file of all rows and the digests of its shards, where there is one."""
        path = self.folder / "sealed.json"
        if not path.exists():
            return None
        try:
            facts = read_json(path, "embedding-cache-seal", version=VERSION)
            digests = [str(text) for text in facts["shards"]]
            if len(digests) == len(self.ranges()):
                return self.folder / Path(facts["file"]).name, digests
        except (FormatError, KeyError, TypeError):
            if not path.exists():  # pruned meanwhile
                return None
        _log.warning("%s is damaged; the vectors beside it are made anew.", path)
        path.unlink(missing_ok=True)
        return None

    def is_sealed(self) -> bool:
        """Whether it was completed; nothing is read or mended for this."""
        return (self.folder / "sealed.json").exists()

    def being_filled(self) -> bool:
        """Whether a process works on it."""
        return any(claims.is_held(path) for path in self.folder.glob("*.claim"))


def shard_rows(size: int) -> int:
    """How many images of `size` x `size` make a shard."""
    return max(_FEWEST, min(_MOST, _SHARD_PIXELS // max(1, size) ** 2))


def _header(rows: int, dim: int) -> bytes:
    """How a `.npy` file of `(rows, dim)` float32 begins."""
    stream = io.BytesIO()
    facts = {"descr": "<f4", "fortran_order": False, "shape": (rows, dim)}
    np.lib.format.write_array_header_1_0(stream, facts)
    return stream.getvalue()


def _fits(path: Path, rows: int, dim: int) -> bool:
    """Whether a file has the size and the beginning of `(rows, dim)` float32."""
    header = _header(rows, dim)
    try:
        with path.open("rb") as stream:
            return stream.read(len(header)) == header and path.stat().st_size == (
                len(header) + 4 * rows * dim
            )
    except OSError:
        return False
