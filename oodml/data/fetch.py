"""Fetching a data set: its archives, checked, and what is in them, in `ROOT/NAME`.

Each archive is downloaded, checked, unpacked into a folder of its own beside its target, and then
moved entry by entry; `manifest.json` lists those that are done. Whenever it ends, the same call
goes on where it was, and nothing but whole entries has a name without a leading dot.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from oodml.data.download import Part, UnobtainableError, check_file, download, require_space
from oodml.data.facts import FACTS, Archive, Facts
from oodml.data.places import default_root
from oodml.data.transport import Patience
from oodml.data.unpack import ArchiveError, Limits, Progress, suffix_of, unpack
from oodml.errors import DataError, FormatError, UnknownNameError
from oodml.registry import nearest
from oodml.store import offline, read_json, write_json

Bar = Callable[[str], AbstractContextManager[Progress]]
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Fetched:
    """A data set on disk: where it lies, what it was made of, what it may be used for.

    Each of `archives` has its `file`, `bytes`, `sha256`, the `url` that it came from (None: it was
    there), `checked`: the kind of published hash that it has (None: none is published), `date`, and
    the `entries` that it holds.
    """

    name: str
    folder: Path
    terms: str
    home: str
    archives: tuple[dict[str, Any], ...]


@contextmanager
def _no_bar(what: str) -> Iterator[Progress]:  # noqa: ARG001
    def update(done: int, total: int) -> None:
        pass

    yield update


def fetch_data(
    name: str | Facts,
    root: Path | None = None,
    *,
    keep: bool = False,
    patience: Patience | None = None,
    bar: Bar = _no_bar,
) -> Fetched:
    """Put a published data set into `root/NAME` (`OODML_HOME/datasets/NAME`) and say what it is.

    An archive that lies there already is used, whoever put it there; one that was downloaded is
    removed when it is unpacked, unless `keep`. `OODML_MIRROR=http://host/path` is asked first, for
    `NAME/FILE` below it. `bar(what)` is a context that gives `update(done, total)`, in bytes.
    Raises `DataError` where the set cannot be had, saying what to do.
    """
    facts = facts_of(name) if isinstance(name, str) else name
    folder = (root / facts.name if root else default_root(facts.name)).expanduser().absolute()
    with _alone(folder):
        fetch = _Fetch(facts, folder, keep, patience or Patience(), bar)
        records = fetch.any_way()
    return Fetched(facts.name, folder, facts.terms, facts.home, tuple(records))


def facts_of(name: str) -> Facts:
    """What is known of a data set that can be fetched, or at least asked for."""
    if name in FACTS:
        return FACTS[name]
    raise UnknownNameError(
        f"{name!r} is not among the data sets that can be fetched; nearest: "
        f"{', '.join(nearest(name, FACTS))}."
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder against another fetch; the hold ends with the process, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise DataError(
            f"Cannot use {folder}: {error.strerror or error}; choose another --root."
        ) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            os.close(handle)
            raise DataError(f"Another fetch is at work in {folder}; wait for it to end.") from None
        # Else this file system has no locks: two fetches are then up to the user.
    try:
        yield
    finally:
        os.close(handle)


@dataclass(frozen=True, slots=True)
class _Fetch:
    facts: Facts
    folder: Path
    keep: bool
    patience: Patience
    bar: Bar

    def any_way(self) -> list[dict[str, Any]]:
        """The records of the archives of the first way that can be gone."""
        for unfinished in self.folder.glob(".*.tmp"):  # notes of a fetch that was killed
            unfinished.unlink()
        done = self._done()
        ways = [way for way in self.facts.ways if all(self._obtainable(a, done) for a in way)]
        said = []
        for way in sorted(ways, key=lambda way: sum(not self._is_here(a, done) for a in way)):
            try:
                records = [self._archive(archive, done) for archive in way]
                self._record(records, complete=True)
                return records
            except UnobtainableError as error:
                said.append(str(error))
        if said and not self.facts.by_hand:
            raise UnobtainableError(said[0])
        raise UnobtainableError("\n".join([self._by_hand(), *said]))

    def _by_hand(self) -> str:
        facts, folder = self.facts, self.folder
        why = facts.by_hand or "nobody gives it freely"
        lines = [f"{facts.title} cannot be fetched: {why} ({facts.home})."]
        for way in facts.ways:
            lines.append(f"{'Put' if way is facts.ways[0] else 'Or put'} into {folder}:")
            for archive in way:
                there = ", is there" if (folder / archive.file).exists() else ""
                lines.append(f"  {archive.file}{_facts_line(archive)}{there}")
        lines.append(
            f"and repeat the command. Or, where you have it unpacked, write {facts.name}:PATH. "
            f"Terms of use: {facts.terms}."
        )
        return "\n".join(lines)

    # What is there

    def _done(self) -> dict[str, dict[str, Any]]:
        """The archives of the manifest by file; those that are still there are not made again."""
        path = self.folder / MANIFEST
        if not path.exists():
            return {}
        try:
            return {record["file"]: record for record in read_json(path, "data")["archives"]}
        except (KeyError, TypeError):
            raise FormatError(f"{path} was changed by hand; remove it and fetch again.") from None

    def _is_whole(self, record: dict[str, Any] | None) -> bool:
        return record is not None and all(
            (self.folder / entry).exists() for entry in record["entries"]
        )

    def _is_here(self, archive: Archive, done: dict[str, dict[str, Any]]) -> bool:
        return (self.folder / archive.file).exists() or self._is_whole(done.get(archive.file))

    def _obtainable(self, archive: Archive, done: dict[str, dict[str, Any]]) -> bool:
        return self._is_here(archive, done) or bool(self._urls(archive))

    def _urls(self, archive: Archive) -> tuple[str, ...]:
        mirror = os.environ.get("OODML_MIRROR", "")
        if not mirror:
            return archive.urls
        if not mirror.startswith(("http://", "https://")):
            raise DataError(f"OODML_MIRROR is {mirror!r}; expected an http or https address.")
        return (f"{mirror.rstrip('/')}/{self.facts.name}/{archive.file}", *archive.urls)

    # What is done

    def _archive(self, archive: Archive, done: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Make one archive's entries, and give its record."""
        known = done.get(archive.file)
        part = Part(archive, self.folder)
        if known and self._is_whole(known):
            self._clean(part)
            return known
        own = self.folder / archive.file
        found = check_file(own, archive) if own.exists() else self._download(part)
        state = None if own.exists() else part.state()
        source = own if own.exists() else part.path
        if known and not found.checked and known["sha256"] != found.sha256:
            raise DataError(
                f"{archive.file} has the sha256 {found.sha256}, and had {known['sha256']} when it "
                f"was first fetched; remove {self.folder / MANIFEST} to use it all the same."
            )
        try:
            entries = self._entries(archive, source, found.sha256)
        except ArchiveError:
            if not found.checked:  # another time a better one may come
                part.remove()
            raise
        record = {
            **asdict(found),
            "file": archive.file,
            "url": state.url if state else None,
            "date": datetime.now(UTC).date().isoformat(),
            "entries": entries,
        }
        done[archive.file] = record
        self._record(list(done.values()), complete=False)
        if self.keep and part.path.exists():
            part.path.rename(own)
        self._clean(part)
        return record

    def _clean(self, part: Part) -> None:
        """Remove what nothing goes on with once the archive is in the manifest."""
        part.remove()
        for folder in (self._unpacked(part.archive), self._unpacking(part.archive)):
            if folder.exists():
                shutil.rmtree(folder)

    def _unpacking(self, archive: Archive) -> Path:
        return self.folder / f".{archive.file}.unpacking"

    def _unpacked(self, archive: Archive) -> Path:
        return self.folder / f".{archive.file}.unpacked"

    def _download(self, part: Part) -> Any:
        archive, urls = part.archive, self._urls(part.archive)
        if offline():
            where = f" from {urls[0]}" if urls else ""
            raise DataError(
                f"OODML_OFFLINE is set and {self.folder / archive.file} is not there; get this "
                f"file{where} on another machine and put it there{_facts_line(archive)}."
            )
        unpacked = archive.bytes if suffix_of(archive.file) else 0
        require_space(self.folder, (archive.bytes or 0) + (unpacked or 0) - part.size())
        with self.bar(f"Fetching {archive.file}") as update:
            return download(part, urls, self.patience, update)

    def _entries(self, archive: Archive, source: Path, sha256: str) -> list[str]:
        """The names in the folder that the archive made."""
        if not suffix_of(archive.file):
            if source.name != archive.file:
                source.replace(self.folder / archive.file)
            return [archive.file]
        whole = self._unpacked(archive)
        if whole.exists() and read_json(whole / "entries.json", "unpacked")["sha256"] != sha256:
            shutil.rmtree(whole)  # of another archive of this name
        if not whole.exists():
            self._unpack(archive, source, whole, sha256)
        entries: list[str] = read_json(whole / "entries.json", "unpacked")["entries"]
        for entry in entries:
            made = whole / "tree" / entry
            if os.path.lexists(made):
                made.rename(self.folder / entry)
        return entries

    def _unpack(self, archive: Archive, source: Path, whole: Path, sha256: str) -> None:
        """Unpack beside the target; the folder gets its name `whole` when all is there."""
        temporary = self._unpacking(archive)
        shutil.rmtree(temporary, ignore_errors=True)  # of a fetch that was killed
        tree = temporary / "tree"
        try:
            tree.mkdir(parents=True)
            limits = Limits(archive.members, archive.expands)
            with self.bar(f"Unpacking {archive.file}") as update:
                unpack(source, archive.file, tree, limits, update)
            entries = sorted(path.name for path in tree.iterdir())
            self._require_free(archive, entries)
            notes = {"entries": entries, "sha256": sha256}
            write_json(temporary / "entries.json", "unpacked", notes)
            temporary.rename(whole)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _require_free(self, archive: Archive, entries: list[str]) -> None:
        """Raise `DataError` where an entry would take the place of something else."""
        for entry in entries:
            if entry == MANIFEST or entry.startswith("."):
                raise DataError(
                    f"{archive.file} holds {entry!a}, a name that is kept for other things."
                )
            if os.path.lexists(self.folder / entry):
                raise DataError(
                    f"{self.folder / entry} is there already; move it away to unpack "
                    f"{archive.file}, or use what is there: {self.facts.name}:{self.folder}."
                )

    def _record(self, records: list[dict[str, Any]], *, complete: bool) -> None:
        facts = self.facts
        body: dict[str, Any] = {"name": facts.name, "title": facts.title, "home": facts.home}
        body |= {"terms": facts.terms, "archives": records, "complete": complete}
        path = self.folder / MANIFEST
        if not path.exists() or read_json(path, "data") != body:  # it may be a folder to read only
            write_json(path, "data", body)


def _facts_line(archive: Archive) -> str:
    """What tells the right file: " (9,912,422 bytes, sha256 440fcab...)"."""
    size = f"{archive.bytes:,} bytes" if archive.bytes else ""
    kind = "sha256" if archive.sha256 else "md5"
    known = archive.sha256 or archive.md5
    facts = ", ".join(filter(None, (size, f"{kind} {known}" if known else "")))
    return f" ({facts})" if facts else ""
