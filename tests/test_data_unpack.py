"""Unpacking hostile archives; beside each of them is one that is only unusual, and goes through."""

from __future__ import annotations

import contextlib
import gzip
import io
import random
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from archives import Build, info, tarred, zipped
from hypothesis import given, settings
from hypothesis import strategies as st

from oodml.data.unpack import Limits, unpack
from oodml.errors import DataError

LIMITS = Limits(members=1000, expands=4)
GOOD = {"a/one.txt": b"one", "a/b/two.txt": b"two" * 1000, "empty.txt": b""}


@pytest.fixture(autouse=True)
def _cage(tmp_path: Path) -> object:
    """Nothing appears but below `tmp_path/cage/here`, whatever happens."""
    (tmp_path / "cage").mkdir()
    yield
    assert {path.name for path in tmp_path.iterdir()} <= {"cage", "archives"}
    assert {path.name for path in (tmp_path / "cage").iterdir()} <= {"here"}


def unpacked(tmp_path: Path, file: str, build: Build, limits: Limits = LIMITS) -> dict[str, bytes]:
    """The files of an archive called `file`; all are plain, below the folder."""
    archive, here = tmp_path / "archives" / file, tmp_path / "cage" / "here"
    archive.parent.mkdir(exist_ok=True)
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    build(archive)
    calls = []
    unpack(archive, file, here, limits, lambda done, total: calls.append((done, total)))
    assert calls
    assert all(0 <= done <= total == archive.stat().st_size for done, total in calls)
    for path in here.rglob("*"):
        assert stat.S_IFMT(path.lstat().st_mode) in (stat.S_IFREG, stat.S_IFDIR)
        assert not path.lstat().st_mode & 0o111 or path.is_dir()
    files = (path for path in here.rglob("*") if path.is_file())
    return {path.relative_to(here).as_posix(): path.read_bytes() for path in files}


def refused(tmp_path: Path, file: str, build: Build, limits: Limits = LIMITS) -> str:
    with pytest.raises(DataError) as caught:
        unpacked(tmp_path, file, build, limits)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "archives" / file))
    assert message.isprintable()
    return message


# What is to be unpacked --------------------------------------------------------------------------


@pytest.mark.parametrize("way", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_zip(tmp_path: Path, way: int) -> None:
    assert unpacked(tmp_path, "x.zip", zipped(GOOD, ("d/", b"", 0o40755), way=way)) == GOOD
    assert (tmp_path / "cage/here/d").is_dir()


@pytest.mark.parametrize("style", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("file", ["x.tar", "x.tgz", "x.tar.gz", "X.TGZ"])
def test_a_tar(tmp_path: Path, file: str, style: int) -> None:
    long = "/".join(["a" * 60] * 3) + "/x.txt"
    files = {**GOOD, long: b"long", "./dotted.txt": b".", "exact.txt": bytes(512)}
    if style != tarfile.USTAR_FORMAT:
        files |= {"b" * 150: b"long", "naïve/日本.txt": b"named"}
    mode = "" if file == "x.tar" else "gz"
    folder = info("d", tarfile.DIRTYPE, mode=0o777)
    found = unpacked(tmp_path, file, tarred(files, folder, mode=mode, style=style), Limits(99, 99))
    assert found == {name.removeprefix("./"): content for name, content in files.items()}


def test_a_gz(tmp_path: Path) -> None:
    content = random.Random(0).randbytes(5000)
    build = lambda path: path.write_bytes(gzip.compress(content))  # noqa: E731
    assert unpacked(tmp_path, "train-images.gz", build) == {"train-images": content}


@pytest.mark.parametrize("build", [zipped, tarred])
def test_what_macos_adds_is_left_out(tmp_path: Path, build: Callable[..., Build]) -> None:
    file = "x.zip" if build is zipped else "x.tgz"
    litter = {"._a": b"", "a/._one.txt": b"", "__MACOSX/a/one.txt": b"", "a/.DS_Store": b""}
    assert unpacked(tmp_path, file, build({**GOOD, **litter})) == GOOD


# Names -------------------------------------------------------------------------------------------

NAMES = {  # hostile, what is said of it, and a name beside it that is fine
    "../evil.txt": ("leads out of the folder", "..evil.txt"),
    "a/../../evil.txt": ("leads out of the folder", "a/...evil.txt"),
    "a/..": ("leads out of the folder", "a/.x"),
    "/evil.txt": ("is an absolute path", "evil.txt"),
    "//evil.txt": ("is an absolute path", "a//evil.txt"),
    "C:/evil.txt": ("is an absolute path", "c/evil.txt"),
    "C:evil.txt": ("is an absolute path", "ab:evil.txt"),
    "a\\..\\evil.txt": ("has a backslash", "a|evil.txt"),
    "good.txt\0/../../evil.txt" + "x" * 100: ("has a NUL", "good.txt" + "x" * 100),
    "/".join(["d"] * 40): ("is too deep or too long", "/".join(["d"] * 30)),
}


@pytest.mark.parametrize("name", NAMES, ids=ascii)
@pytest.mark.parametrize("file", ["x.zip", "x.tgz", "x.tar"])
def test_a_name_that_leads_elsewhere(tmp_path: Path, name: str, file: str) -> None:
    said, fine = NAMES[name]
    style = tarfile.GNU_FORMAT if "\0" in name else tarfile.PAX_FORMAT

    def build(name: str) -> Build:
        if file == "x.zip":
            return zipped(GOOD, (name, b"", 0))
        return tarred(GOOD, info(name), mode=file[3:], style=style)

    assert said in refused(tmp_path, file, build(name))
    assert unpacked(tmp_path, file, build(fine)).keys() == {*GOOD, fine.replace("//", "/")}


def test_a_nul_in_an_extended_header(tmp_path: Path) -> None:
    for path, fine in (("a\0b", False), ("ab", True)):
        extended = info("x", pax_headers={"path": path})
        build = tarred(GOOD, extended)
        if fine:
            assert "ab" in unpacked(tmp_path, "x.tgz", build)
        else:
            assert "has a NUL in it" in refused(tmp_path, "x.tgz", build)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("a.txt", "a.txt"), "has 'a.txt' twice"),
        (("a.txt", "./a.txt"), "has 'a.txt' twice"),
        (("a.txt", "A.TXT"), "has 'a.txt' and 'A.TXT', one name on some file systems"),
        (("d/a.txt", "D/b.txt"), "has 'd' and 'D', one name"),
        (("stra\u00dfe", "STRASSE"), "one name on some file systems"),
        (("e\u0301", "\u00e9"), "one name on some file systems"),
        (("p", "p/q"), "has 'p' as a file and as a folder"),
        (("p/q", "p"), "has 'p' as a file and as a folder"),
        (("a.txt", "b.txt"), ""),
        (("d/", "d/", "d/a.txt"), ""),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_each_name_is_there_once(tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    folders = [info(n, tarfile.DIRTYPE if n.endswith("/") else tarfile.REGTYPE) for n in names]
    for file, build in (
        ("x.zip", zipped(GOOD, *((name, b"", 0) for name in names))),
        ("x.tgz", tarred(GOOD, *folders)),
    ):
        if said:
            assert said in refused(tmp_path, file, build)
        else:
            assert unpacked(tmp_path, file, build).items() > GOOD.items()


# Kinds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "a pipe"),
        (tarfile.GNUTYPE_SPARSE, "of an unknown kind"),
        (b"Z", "of an unknown kind"),
        (tarfile.REGTYPE, ""),
        (tarfile.AREGTYPE, ""),
        (tarfile.CONTTYPE, ""),
    ],
)
def test_only_files_and_folders_of_a_tar(tmp_path: Path, kind: bytes, said: str) -> None:
    build = tarred(GOOD, info("x", kind, linkname="/etc/passwd", mode=0o6777))
    if said:
        assert f"has the member 'x', which is {said}" in refused(tmp_path, "x.tgz", build)
    else:
        assert unpacked(tmp_path, "x.tgz", build) == {**GOOD, "x": b""}


def test_sparse_files_of_the_newer_kind(tmp_path: Path) -> None:
    headers = {"GNU.sparse.major": "1", "GNU.sparse.size": "99999999999"}
    build = tarred(GOOD, info("x", pax_headers=headers))
    assert "which is of an unknown kind" in refused(tmp_path, "x.tgz", build)


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (stat.S_IFLNK | 0o777, "a symbolic link"),
        (stat.S_IFCHR, "a device"),
        (stat.S_IFBLK, "a device"),
        (stat.S_IFIFO, "a device, pipe"),
        (stat.S_IFSOCK, "socket"),
        (stat.S_IFREG | 0o6777, ""),
        (0, ""),
    ],
)
def test_only_files_and_folders_of_a_zip(tmp_path: Path, mode: int, said: str) -> None:
    build = zipped(GOOD, ("x", b"/etc/passwd", mode))
    if said:
        assert said in refused(tmp_path, "x.zip", build)
    else:
        assert unpacked(tmp_path, "x.zip", build) == {**GOOD, "x": b"/etc/passwd"}


def test_an_encrypted_member(tmp_path: Path) -> None:
    def build(path: Path) -> None:
        zipped({"x": b"x"})(path)
        content = bytearray(path.read_bytes())
        content[content.index(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(content)

    assert "which is encrypted" in refused(tmp_path, "x.zip", build)


# Bombs -------------------------------------------------------------------------------------------

LARGE = 1 << 23


@pytest.mark.parametrize("file", ["x.zip", "x.tgz", "x.gz", "x.tar.gz"])
@pytest.mark.parametrize(("size", "safe"), [(LARGE, False), (LARGE >> 4, True)])
def test_a_bomb(tmp_path: Path, file: str, size: int, *, safe: bool) -> None:
    files = {"x": bytes(size)}
    build: Build = zipped(files) if file == "x.zip" else tarred(files)
    if file == "x.gz":
        build = lambda path: path.write_bytes(gzip.compress(files["x"]))  # noqa: E731
    if safe:
        assert unpacked(tmp_path, file, build) == files
        return
    assert "more than 4 times its size (a decompression bomb?)" in refused(tmp_path, file, build)
    written = sum(path.stat().st_size for path in (tmp_path / "cage").rglob("*"))
    assert written <= LARGE >> 1
    assert unpacked(tmp_path, file, build, Limits(9, 10_000)) == files


def test_a_bomb_of_many_small_members(tmp_path: Path) -> None:
    for count, safe in ((900, False), (100, True)):
        build = zipped({f"{n}": bytes(10_000) for n in range(count)})
        if safe:
            assert len(unpacked(tmp_path, "x.zip", build)) == count
        else:
            assert "decompression bomb" in refused(tmp_path, "x.zip", build)


def test_a_zip_that_lies_about_a_size(tmp_path: Path) -> None:
    def build(path: Path) -> None:
        zipped({"x": bytes(LARGE)})(path)
        size = struct.pack("<L", LARGE)
        path.write_bytes(path.read_bytes().replace(size, struct.pack("<L", 10)))

    assert "is damaged (Bad CRC-32" in refused(tmp_path, "x.zip", build)
    (written,) = (tmp_path / "cage" / "here").iterdir()
    assert written.stat().st_size <= 10


def test_a_tar_whose_padding_is_the_bomb(tmp_path: Path) -> None:
    assert "decompression bomb" in refused(tmp_path, "x.tgz", tarred(GOOD, tail=bytes(LARGE)))
    assert unpacked(tmp_path, "x.tgz", tarred(GOOD, tail=bytes(10_240))) == GOOD


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize(("size", "safe"), [(2 << 20, False), (1000, True)])
def test_a_tar_whose_headers_are_the_bomb(
    tmp_path: Path, kind: bytes, size: int, *, safe: bool
) -> None:
    body = b"n" * size
    if kind == tarfile.XHDTYPE:
        body = f"{size + 7 + len(str(size + 7 + 5)) - 5} c=".encode().ljust(size + 4, b"n") + b"\n"
        body = f"{len(body)} c=".encode() + b"n" * (len(body) - len(f"{len(body)} c=") - 1) + b"\n"

    def build(path: Path) -> None:
        header = info("x", kind, size=len(body)).tobuf(tarfile.USTAR_FORMAT)
        record = header + body + bytes(-len(body) % 512)
        member = info("after").tobuf(tarfile.USTAR_FORMAT)
        path.write_bytes(gzip.compress(record + member + bytes(1024)))

    limits = Limits(9, 1_000_000)
    if not safe:
        said = "headers take more than 1048576 bytes"
        assert said in refused(tmp_path, "x.tgz", build, limits)
    elif kind == tarfile.XHDTYPE:
        assert unpacked(tmp_path, "x.tgz", build, limits) == {"after": b""}
    else:
        assert "File name too long" in refused(tmp_path, "x.tgz", build, limits)


def test_a_million_names(tmp_path: Path) -> None:
    entry = b"PK\x01\x02" + bytes(24) + struct.pack("<H", 4) + bytes(16) + b"name"
    count = 1_000_000

    def build(path: Path) -> None:
        end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1000, 1000, len(entry) * count, 0, 0)
        path.write_bytes(entry * count + end)

    said = "has a table of contents larger than its members could need"
    assert said in refused(tmp_path, "x.zip", build)


@pytest.mark.parametrize("file", ["x.zip", "x.tgz"])
def test_more_names_than_there_should_be(tmp_path: Path, file: str) -> None:
    for count in (1001, 1000):
        files = {f"{number}": b"" for number in range(count)}
        build = zipped(files) if file == "x.zip" else tarred(files)
        if count == 1000:
            assert unpacked(tmp_path, file, build, Limits(1000, 999)) == files
        else:
            assert "1000" in refused(tmp_path, file, build, Limits(1000, 999))


def test_folders_count_as_members(tmp_path: Path) -> None:
    build = tarred({}, *(info(f"{number}", tarfile.DIRTYPE) for number in range(1001)))
    assert "has more than 1000 members" in refused(tmp_path, "x.tgz", build, Limits(1000, 999))


# Damage ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["x.zip", "x.tgz", "x.tar", "x.gz"])
def test_a_part_of_an_archive_is_damaged_wherever_it_ends(tmp_path: Path, file: str) -> None:
    whole = tmp_path / "archives" / "whole"
    whole.parent.mkdir()
    noise = random.Random(0).randbytes(5000)
    files = {**GOOD, "noise": noise}
    if file == "x.gz":
        whole.write_bytes(gzip.compress(noise))
    else:
        (zipped(files) if file == "x.zip" else tarred(files, mode=file[3:]))(whole)
    content = whole.read_bytes()
    last = len(content) - (10_240 if file == "x.tar" else 0)  # a tar ends in zeros
    for end in range(1, last, max(1, last // 40)):
        build = lambda path, end=end: path.write_bytes(content[:end])  # noqa: E731
        said, found = "", {}
        try:
            found = unpacked(tmp_path, file, build)
        except DataError as error:
            said = str(error)
        # A tar may end between two members, and cannot be told from a whole one.
        assert "is damaged" in said or (file == "x.tar" and found.items() <= files.items())


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_damage_gets_out_or_through(data: st.DataObject) -> None:
    """Any bytes of an archive changed: unpacked or refused, nothing else, and never outside."""
    file = data.draw(st.sampled_from(["x.zip", "x.tar", "x.tgz"]))
    place = io.BytesIO()

    class Target:
        write_bytes = staticmethod(place.write)

    if file == "x.zip":
        with zipfile.ZipFile(place, "w") as archive:
            for name, content in GOOD.items():
                archive.writestr(name, content)
    else:
        tarred(GOOD, mode=file[3:])(Target)  # type: ignore[arg-type]
    content = bytearray(place.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / file).write_bytes(content)
        (root / "cage" / "here").mkdir(parents=True)
        with contextlib.suppress(DataError):
            unpack(root / file, file, root / "cage" / "here", LIMITS, lambda *_: None)
        assert {path.name for path in root.iterdir()} == {file, "cage"}
        assert [path.name for path in (root / "cage").iterdir()] == ["here"]


def test_an_archive_of_nothing(tmp_path: Path) -> None:
    assert "holds nothing" in refused(tmp_path, "x.zip", zipped({}))
    assert "holds nothing" in refused(tmp_path, "x.tgz", tarred({}))
