"""The embedding cache: `.npy` shards under a folder named by what they depend on.

The key covers the encoder's identity (weights' sha256, transform, precision) and the content of the
data, never a file name. A shard is written to a temporary file and renamed, so that whatever is
there is whole; an interrupted extraction goes on at the first missing shard.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oodml.embed.spec import EncoderSpec
from oodml.errors import FormatError
from oodml.store import digest, home, read_json, replacing, write_json

Array = np.ndarray[Any, Any]
SHARD_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Shards:
    """The vectors `(n, dim)` of one encoder on one data set, in shards of `SHARD_ROWS` rows.

    Without a folder they live in memory, in `kept`.
    """

    folder: Path | None
    rows: int
    dim: int
    kept: dict[int, Array]

    @classmethod
    def of(cls, spec: EncoderSpec, fingerprint: str, rows: int, *, keep: bool) -> Shards:
        if not keep:
            return cls(None, rows, spec.dim, {})
        key = digest(["embeddings", 1, spec.identity(), fingerprint])
        folder = home() / "embeddings" / key
        shards = cls(folder, rows, spec.dim, {})
        facts = {"encoder": spec.to_json(), "content_fingerprint": fingerprint, "rows": rows}
        try:
            begun = (folder / "manifest.json").exists()
        except OSError as error:
            raise FormatError(
                f"Cannot use the cache {folder}: {error.strerror or error}; set OODML_HOME to a "
                "folder of your own."
            ) from None
        if not begun:
            write_json(folder / "manifest.json", "embedding-cache", facts)
        elif read_json(folder / "manifest.json", "embedding-cache")["rows"] != rows:
            raise FormatError(f"{folder} holds another number of rows; remove that folder.")
        return shards

    def ranges(self) -> list[range]:
        """The rows of every shard."""
        starts = range(0, self.rows, SHARD_ROWS)
        return [range(start, min(start + SHARD_ROWS, self.rows)) for start in starts]

    def has(self, shard: int) -> bool:
        return shard in self.kept or bool(self.folder and self._path(shard).exists())

    def complete(self) -> bool:
        return all(self.has(shard) for shard in range(len(self.ranges())))

    def put(self, shard: int, vectors: Array) -> None:
        if self.folder is None:
            self.kept[shard] = vectors
            return
        with replacing(self._path(shard)) as temporary, temporary.open("wb") as stream:
            np.save(stream, vectors, allow_pickle=False)

    def join(self) -> Array:
        """All rows: a memory map where one shard holds them, else one array in memory."""
        parts = [self._load(shard, rows) for shard, rows in enumerate(self.ranges())]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _path(self, shard: int) -> Path:
        assert self.folder is not None
        return self.folder / f"vectors-{shard:05}.npy"

    def _load(self, shard: int, rows: range) -> Array:
        if self.folder is None:
            return self.kept[shard]
        path = self._path(shard)
        try:
            vectors: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise FormatError(f"{path} is damaged ({error}); remove it and embed again.") from None
        if vectors.shape != (len(rows), self.dim) or vectors.dtype != np.float32:
            raise FormatError(
                f"{path} holds {vectors.dtype} {vectors.shape}; remove it and embed again."
            )
        return vectors
