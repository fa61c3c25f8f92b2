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
import json
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
_SEAL = "sealed.json"
_LEFT = 600.0  # seconds after which a temporary file is of a process that was killed
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
                cache.touch()
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

    def touch(self) -> None:
        """Note that it was used now."""
        with suppress(OSError):  # a cache may be read-only
            os.utime(self.folder / "manifest.json")

    def ranges(self) -> list[range]:
        """The rows of every shard."""
        starts = range(0, self.rows, self.step)
        return [range(start, min(start + self.step, self.rows)) for start in starts]

    # Shards ----------------------------------------------------------------------------------

    def has(self, shard: int) -> bool:
        """Whether a shard is there."""
        # In this order: shards go only when the file of all rows is there.
        return any(self.folder.glob(f"shard-{shard:06}-*.npy")) or self.is_sealed()

    def missing(self) -> list[int]:
        """The shards that are not there; one of wrong size is reported, removed and missing."""
        found, ranges = self.shards(), self.ranges()
        wrong = {n for n, path in found.items() if not _fits(path, len(ranges[n]), self.dim)}
        if self.is_sealed():
            return []
        for shard in wrong:
            _log.warning("%s is damaged and is made anew.", found[shard])
            found[shard].unlink(missing_ok=True)
        return [shard for shard in range(len(ranges)) if shard not in found.keys() - wrong]

    def shards(self) -> dict[int, Path]:
        """The files of the shards that are there, by number."""
        matches = [_SHARD.fullmatch(path.name) for path in self._files()]
        count = len(self.ranges())
        found = {int(match[1]): self.folder / match[0] for match in matches if match}
        return {shard: path for shard, path in found.items() if shard < count}

    def _files(self) -> list[Path]:
        try:
            return sorted(self.folder.iterdir())
        except FileNotFoundError:
            raise FormatError(f"{self.folder} was removed while it was used; try again.") from None

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
        """Put all shards into one file, unless one is missing or another process has done it."""
        with claims.held(self._sealing()):
            found = self.shards()
            if self.is_sealed() or len(found) < len(self.ranges()):
                return
            digests = [_digest_of(found[shard]) for shard in range(len(self.ranges()))]
            path = self.folder / _vectors_name(digests)
            with replacing(path) as temporary, temporary.open("wb") as stream:
                stream.write(_header(self.rows, self.dim))
                for shard, rows in enumerate(self.ranges()):
                    stream.write(found[shard].read_bytes()[len(_header(len(rows), self.dim)) :])
            self._write_seal(digests)
            self._clean()

    def is_sealed(self) -> bool:
        """Whether it was completed; nothing is read for this."""
        return (self.folder / _SEAL).exists()

    def vectors(self) -> Array | None:
        """All rows `(rows, dim)`, mapped into memory; None where some are missing or damaged."""
        sealed = self._sealed()
        if sealed is None or not _fits(sealed[0], self.rows, self.dim):
            return None
        offset = len(_header(self.rows, self.dim))
        try:
            return np.memmap(sealed[0], "<f4", "r", offset=offset, shape=(self.rows, self.dim))
        except FileNotFoundError:  # taken apart meanwhile
            return None

    def damaged(self) -> list[int]:
        """The shards whose numbers are not those that were written; nothing is changed.

        Of a complete cache whose digests are lost, and cannot be found again, all.
        """
        if sealed := self._sealed():
            read = {shard: (sealed[0], expected) for shard, expected in enumerate(sealed[1])}
        elif self.is_sealed():
            return list(range(len(self.ranges())))
        else:
            read = {n: (path, _digest_of(path)) for n, path in self.shards().items()}
        bad = [n for n, (path, expected) in read.items() if self._digest(n, path) != expected]
        return self.damaged() if bad and not sealed and self.is_sealed() else bad  # sealed since

    def tidy(self) -> None:
        """Mend a complete cache whose files do not fit, and remove what a killed process left."""
        if not self.is_sealed():
            return
        sealed = self._sealed_as_written()
        if sealed is None or not _fits(sealed[0], self.rows, self.dim):
            name = sealed[0] if sealed else self.folder / _SEAL
            _log.warning("%s is damaged; what is missing of it is made anew.", name)
            self.mend()
        elif self._left(sealed[0]):
            with suppress(FormatError):  # a cache may be read-only
                self.mend()

    def mend(self) -> list[int]:
        """Remove the damaged shards, which are then missing, and what was left; their numbers.

        Of a complete cache, the other shards are kept as files of their own.
        """
        with claims.held(self._sealing()):
            bad, sealed = self.damaged(), self._sealed()
            if sealed and not bad and _fits(sealed[0], self.rows, self.dim):
                self._write_seal(sealed[1])
                self._clean()
            elif self.is_sealed():
                for shard in range(len(self.ranges())):
                    if shard not in bad and sealed:
                        self._take_out(shard, sealed[0])
                (self.folder / _SEAL).unlink(missing_ok=True)
                for path in self.folder.glob("vectors-*.npy"):
                    path.unlink(missing_ok=True)
            else:
                files = self.shards()
                for shard in bad:
                    files[shard].unlink(missing_ok=True)
        return bad

    def _take_out(self, shard: int, path: Path) -> None:
        """Write a shard of the file of all rows as a file of its own."""
        if (rows := self._rows_of(shard, path)) is not None:
            self.put(shard, rows)

    def _digest(self, shard: int, path: Path) -> str | None:
        """The sha256 of a shard's numbers, None where they are not there."""
        rows = self._rows_of(shard, path)
        return None if rows is None else array_digest(rows)

    def _rows_of(self, shard: int, path: Path) -> Array | None:
        """The rows of a shard in a file of its own or of all rows; None where they are not."""
        rows = self.ranges()[shard]
        alone = path.name.startswith("shard")
        header = _header(len(rows) if alone else self.rows, self.dim)
        start = len(header) + (0 if alone else 4 * self.dim * rows.start)
        content = _part(path, start, 4 * self.dim * len(rows))
        if content is None or len(content) < 4 * self.dim * len(rows):
            return None
        return np.frombuffer(content, "<f4").reshape(len(rows), self.dim)

    # The seal --------------------------------------------------------------------------------

    def _sealing(self) -> Path:
        """The claim on making, mending and cleaning the file of all rows."""
        return self.folder / "seal.claim"

    def _write_seal(self, digests: list[str]) -> None:
        facts = {"file": _vectors_name(digests), "shards": digests}
        write_json(self.folder / _SEAL, "embedding-cache-seal", facts, version=VERSION)

    def _sealed(self) -> tuple[Path, list[str]] | None:
        """The file of all rows and the digests of its shards, where there is one.

        Where the digests are damaged, a file is looked for whose own digests agree with its name.
        """
        if (found := self._sealed_as_written()) or not self.is_sealed():
            return found
        for path in self.folder.glob("vectors-*.npy"):
            digests = [str(self._digest(shard, path)) for shard in range(len(self.ranges()))]
            if path.name == _vectors_name(digests):
                return path, digests
        return None

    def _sealed_as_written(self) -> tuple[Path, list[str]] | None:
        """The same as `sealed.json` says; None where it is not there or damaged."""
        content = _part(self.folder / _SEAL, 0, -1)
        try:
            facts = json.loads(content or b"")
            digests = [str(text) for text in facts["shards"]]
            agrees = facts["file"] == _vectors_name(digests)
        except (ValueError, KeyError, TypeError):
            return None
        if not agrees or len(digests) != len(self.ranges()):
            return None
        return self.folder / _vectors_name(digests), digests

    def _clean(self) -> None:
        """Remove what is left beside the file of all rows; the caller holds the claim."""
        if sealed := self._sealed_as_written():
            for path in self._left(sealed[0]):
                path.unlink(missing_ok=True)

    def _left(self, sealed: Path) -> list[Path]:
        """What a complete cache does not need: shards, other vectors, what killed processes left.

        Temporary files may be of a process at work, and claims too.
        """
        return [path for path in self._files() if path != sealed and _is_left(path)]


def shard_rows(size: int) -> int:
    """How many images of `size` x `size` make a shard."""
    return max(_FEWEST, min(_MOST, _SHARD_PIXELS // max(1, size) ** 2))


def _header(rows: int, dim: int) -> bytes:
    """How a `.npy` file of `(rows, dim)` float32 begins."""
    stream = io.BytesIO()
    facts = {"descr": "<f4", "fortran_order": False, "shape": (rows, dim)}
    np.lib.format.write_array_header_1_0(stream, facts)
    return stream.getvalue()


def _digest_of(shard: Path) -> str:
    """The sha256 in the name of a shard."""
    return shard.stem.rsplit("-", 1)[1]


def _vectors_name(digests: list[str]) -> str:
    """The name of the file of all rows, which follows from the digests of its shards."""
    return f"vectors-{digest(digests)[:16]}.npy"


def _fits(path: Path, rows: int, dim: int) -> bool:
    """Whether a file is there and has the size and the beginning of `(rows, dim)` float32."""
    header = _header(rows, dim)
    found = _part(path, 0, len(header))
    try:
        return found == header and path.stat().st_size == len(header) + 4 * rows * dim
    except FileNotFoundError:
        return False


def _part(path: Path, start: int, size: int) -> bytes | None:
    """Bytes of a file, None where it is not there.

    Raises `FormatError` where it cannot be read: that may pass, and is no damage.
    """
    try:
        with path.open("rb") as stream:
            stream.seek(start)
            return stream.read(size)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FormatError(
            f"Cannot read {path}: {error.strerror or error}; try again, and remove its folder if "
            "that does not pass."
        ) from None


def _is_left(path: Path) -> bool:
    """Whether nobody needs a file of a complete cache that is not its vectors."""
    try:
        if path.suffix == ".tmp":
            return claims.is_stale(path, _LEFT)
    except FileNotFoundError:
        return False
    if path.suffix == ".claim":
        return not claims.is_held(path)
    return path.name.startswith(("shard-", "vectors-"))
