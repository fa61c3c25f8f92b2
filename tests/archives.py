"""Archives for tests, of good and of hostile members."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

Build = Callable[[Path], object]


def zipped(files: dict[str, bytes], *extra: tuple[str, bytes, int], way: int = 8) -> Build:
    """A zip of files, and of extra members (name, content, Unix mode)."""

    def build(path: Path) -> None:
        with zipfile.ZipFile(path, "w", way) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
            for name, content, mode in extra:
                info = zipfile.ZipInfo("x")
                info.filename, info.external_attr = name, mode << 16
                archive.writestr(info, content, way)

    return build


def tarred(
    files: dict[str, bytes],
    *extra: tarfile.TarInfo,
    mode: str = "gz",
    style: int = tarfile.PAX_FORMAT,
    tail: bytes = b"",
) -> Build:
    def build(path: Path) -> None:
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w", format=style) as archive:
            for name, text in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(text)
                archive.addfile(info, io.BytesIO(text))
            for info in extra:
                archive.addfile(info, io.BytesIO(bytes(info.size)))
        raw = content.getvalue() + tail
        path.write_bytes(gzip.compress(raw) if mode == "gz" else raw)

    return build


def info(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type = kind
    for field, value in fields.items():
        setattr(made, field, value)
    return made
