"""Downloads from a real server that stalls, lies, dies and comes back."""

from __future__ import annotations

import hashlib
import random
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import web as moods
from web import Mood, Web, serving

from oodml.data import download as module
from oodml.data.download import Part, UnobtainableError, check_file, download
from oodml.data.facts import Archive
from oodml.data.transport import Patience
from oodml.errors import DataError

CONTENT = b"\x1f\x8b" + random.Random(0).randbytes(200_000)
OTHER = b"\x1f\x8b" + random.Random(1).randbytes(200_000)
HASTY = Patience(connect=5, read=5, tries=3, pause=0.01, least=64)
SHORT = replace(HASTY, read=0.6, tries=2)  # for servers that stall
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        yield server


def published(**changes: object) -> Archive:
    fields = {"file": "toy.gz", "bytes": len(CONTENT), "sha256": SHA256}
    return Archive(**(fields | changes))  # type: ignore[arg-type]


def unknown(**changes: object) -> Archive:
    """An archive of which nobody published anything."""
    return published(**({"bytes": None, "sha256": None} | changes))


def get(
    folder: Path, *urls: str, archive: Archive | None = None, patience: Patience = HASTY
) -> Part:
    """Download, and check what must hold whenever a download ends."""
    part = Part(archive or published(), folder)
    calls = []
    try:
        checked = download(part, urls, patience, lambda done, total: calls.append((done, total)))
    finally:
        left = {path.name for path in folder.iterdir()}
        assert left in (set(), {part.path.name, part.notes.name})
    assert part.path.read_bytes() == CONTENT
    assert (checked.bytes, checked.sha256) == (len(CONTENT), SHA256)
    assert all(0 < done <= total for done, total in calls)
    assert not calls or calls[-1] == (len(CONTENT), len(CONTENT))
    return part


def refused(
    folder: Path, *urls: str, archive: Archive | None = None, patience: Patience = HASTY
) -> str:
    with pytest.raises(UnobtainableError) as caught:
        get(folder, *urls, archive=archive, patience=patience)
    message = str(caught.value)
    assert message.startswith("toy.gz cannot be fetched: ")
    assert str(folder / "toy.gz") in message  # where to put it
    return message


# One piece ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mood", [moods.plainly, moods.unmeasured, moods.chunked, moods.deaf])
@pytest.mark.parametrize("archive", [published(), unknown()])
def test_a_file_comes_in_one_piece(web: Web, tmp_path: Path, mood: Mood, archive: Archive) -> None:
    part = get(tmp_path, web.put("a", CONTENT, mood), archive=archive)
    assert web.ranges() == [None]
    state = part.state()
    assert state is not None
    assert (state.url, state.pieces) == (f"{web.url}a", 1)


def test_what_was_checked_is_said(web: Web, tmp_path: Path) -> None:
    md5 = hashlib.md5(CONTENT).hexdigest()
    url = web.put("a", CONTENT)
    for archive, kind in (
        (published(), "sha256"),
        (unknown(md5=md5), "md5"),
        (unknown(), None),
        (published(md5="0" * 32), "sha256"),  # the better of the two
    ):
        part = Part(archive, tmp_path)
        assert download(part, (url,), HASTY, lambda *_: None).checked == kind
        part.remove()


# Pieces ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mood", [moods.dying(50_000), moods.stalling(50_000)])
def test_a_server_that_breaks_off_is_gone_on_with(web: Web, tmp_path: Path, mood: Mood) -> None:
    get(tmp_path, web.put("a", CONTENT, mood), patience=SHORT)
    assert web.ranges() == [None, "bytes=50000-"]


def test_a_server_that_announces_more_than_there_is(web: Web, tmp_path: Path) -> None:
    url = web.put("a", CONTENT, moods.claiming(len(CONTENT) + 9))
    get(tmp_path, url, archive=unknown(sha256=SHA256))  # the rest does not exist: once more
    assert web.ranges() == [None, f"bytes={len(CONTENT)}-", None]


def test_many_deaths_do_not_stop_it_as_long_as_it_gets_on(web: Web, tmp_path: Path) -> None:
    deaths = [moods.dying(20_000)] * 9
    url = web.put("a", CONTENT, *deaths)
    patient = Patience(tries=2, pause=0.001, worth=10_000)
    download(Part(published(), tmp_path), (url,), patient, lambda *_: None)
    assert web.ranges() == [None, *(f"bytes={20_000 * n}-" for n in range(1, 10))]


def test_a_server_that_gives_nothing_is_given_up(web: Web, tmp_path: Path) -> None:
    url = web.put("a", CONTENT, *[moods.stalling(0)] * 9)
    assert f"{url} gave nothing for 0.6 s" in refused(tmp_path, url, patience=SHORT)
    assert len(web.asked) == SHORT.tries
    assert not list(tmp_path.iterdir())


def test_a_trickle_is_a_stall(web: Web, tmp_path: Path) -> None:
    url = web.put("a", CONTENT, *[moods.trickling] * 9)
    assert "bytes in 0.6 s" in refused(tmp_path, url, patience=SHORT)


def test_another_mirror_goes_on_where_the_first_one_died(web: Web, tmp_path: Path) -> None:
    first = web.put("a", CONTENT, moods.dying(70_000), *[moods.answering(500)] * 9)
    get(tmp_path, first, web.put("b", CONTENT))
    assert web.asked[-1] == ("/b", "bytes=70000-")
    assert [path for path, _ in web.asked] == ["/a"] * HASTY.tries + ["/b"]


def test_a_later_call_goes_on(web: Web, tmp_path: Path) -> None:
    url = web.put("a", CONTENT, moods.dying(90_000), *[moods.answering(503)] * 2)
    assert "answers 503" in (message := refused(tmp_path, url))
    assert "go on from the 90,000 bytes" in message
    web.asked.clear()
    get(tmp_path, url)
    assert web.ranges() == ["bytes=90000-"]
    web.asked.clear()
    get(tmp_path, url)  # it is whole: nothing is asked for
    assert not web.asked


def test_a_server_without_range_starts_again(web: Web, tmp_path: Path) -> None:
    get(tmp_path, web.put("a", CONTENT, moods.dying(50_000), moods.deaf))
    assert web.ranges() == [None, "bytes=50000-"]


def test_another_part_than_asked_for_is_not_used(web: Web, tmp_path: Path) -> None:
    get(tmp_path, web.put("a", CONTENT, moods.dying(50_000), moods.elsewhere))
    assert web.ranges() == [None, "bytes=50000-", None]


# Files that change -------------------------------------------------------------------------------


def swap(web: Web, to: bytes, then: Mood = moods.plainly) -> Mood:
    def mood(handler: moods.Handler) -> None:
        web.files[handler.path] = to
        then(handler)

    return mood


@pytest.mark.parametrize("tag", ['"{}"', 'W/"{}"', ""])
@pytest.mark.parametrize("archive", [published(), unknown()], ids=["published", "unknown"])
@pytest.mark.parametrize("before", [OTHER, OTHER + b"more", OTHER[:60_000]])
def test_a_file_that_changes_between_two_requests_is_never_mixed(
    web: Web, tmp_path: Path, archive: Archive, before: bytes, tag: str
) -> None:
    web.tag = tag
    if archive.bytes and len(before) != archive.bytes:
        archive = unknown(sha256=SHA256)
    url = web.put("a", before, moods.dying(50_000), swap(web, CONTENT))
    get(tmp_path, url, archive=archive)


def test_a_file_that_shrank_below_the_part_is_got_anew(web: Web, tmp_path: Path) -> None:
    url = web.put("a", OTHER * 2, moods.dying(300_000), swap(web, CONTENT))
    get(tmp_path, url, archive=unknown(sha256=SHA256))  # 416, or the whole one
    web.tag = ""
    web.put("b", OTHER * 2, moods.dying(300_000), swap(web, CONTENT))
    Part(published(), tmp_path).remove()
    get(tmp_path, f"{web.url}b", archive=unknown(sha256=SHA256))


@pytest.mark.parametrize("tag", ['W/"{}"', ""])
def test_without_validator_and_hash_nothing_is_gone_on_with(
    web: Web, tmp_path: Path, tag: str
) -> None:
    web.tag = tag
    get(tmp_path, web.put("a", CONTENT, moods.dying(50_000)), archive=unknown())
    assert web.ranges() == [None, None]


def test_a_part_of_another_mirror_is_used_only_with_a_hash(web: Web, tmp_path: Path) -> None:
    for archive, asked in ((unknown(), None), (published(), "bytes=70000-")):
        first = web.put("a", OTHER, moods.dying(70_000), *[moods.answering(404)] * 9)
        web.put("b", CONTENT)
        web.asked.clear()
        get(tmp_path, first, f"{web.url}b", archive=archive)
        assert next(rest for path, rest in web.asked if path == "/b") == asked
        Part(archive, tmp_path).remove()


def test_a_part_that_nobody_knows_is_not_trusted(web: Web, tmp_path: Path) -> None:
    part = Part(published(), tmp_path)
    for notes in ("", "{}", '{"format": "oodml.part", "version": 1, "url": 3}'):
        part.path.write_bytes(OTHER[:1000])
        part.notes.write_text(notes)
        web.asked.clear()
        get(tmp_path, web.put("a", CONTENT))
        assert web.ranges() == [None]
        part.remove()


# Addresses that will not do ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mood", "said", "asked"),
    [
        (moods.answering(404), "answers 404", 1),
        (moods.answering(403), "answers 403", 1),
        (moods.answering(500), "answers 500", 3),
        (moods.answering(503), "answers 503", 3),
        (moods.answering(429), "answers 429", 3),
        (moods.answering(204), "gave nothing", 3),
        (moods.page, "gives a web page (titled 'Please sign in') in place of toy.gz", 1),
        (moods.answering(200, body=b"PK\x03\x04" + CONTENT), "gives no .gz file: it begins", 1),
        (moods.answering(200, body=OTHER), "gives a file of another content", 1),
        (moods.answering(200, body=OTHER + b"x"), "has 200,003 bytes; expected 200,002", 1),
        (moods.claiming(1000), "has 1,000 bytes; expected 200,002", 1),
        (moods.endless, "gives more than the 200,002 bytes", 1),
        (moods.leading("file:///etc/passwd"), "answers 302", 1),
        (moods.leading("ftp://127.0.0.1/a"), "leads to 'ftp://127.0.0.1/a'", 1),
        (moods.leading("/a"), "answers 302", 3),
        (moods.leading("data:text/plain,hello"), "answers 302", 1),
    ],
)
def test_an_address_that_will_not_do_is_named_and_the_next_one_is_asked(
    web: Web, tmp_path: Path, mood: Mood, said: str, asked: int
) -> None:
    url = web.put("a", CONTENT, *[mood] * 9)
    assert f"{url} {said}" in refused(tmp_path, url)
    assert [path for path, _ in web.asked] == ["/a"] * asked
    web.put("a", CONTENT, *[mood] * 9)
    get(tmp_path, url, web.put("b", CONTENT))


def test_redirects_are_followed_with_the_range(web: Web, tmp_path: Path) -> None:
    web.put("b", CONTENT, moods.dying(50_000))
    get(tmp_path, web.put("a", CONTENT, *[moods.leading("b")] * 2))
    assert web.asked == [
        ("/a", None),
        ("/b", None),
        ("/a", "bytes=50000-"),
        ("/b", "bytes=50000-"),
    ]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/a", "data:,a"])
def test_only_web_addresses_are_asked(tmp_path: Path, url: str) -> None:
    assert "is no http or https address" in refused(tmp_path, url)


def test_nobody_there(tmp_path: Path) -> None:
    with serving() as gone:
        pass
    assert "cannot be reached" in refused(tmp_path, f"{gone.url}a")
    assert "cannot be found" in refused(tmp_path, "http://host.invalid/a")


def test_a_page_does_not_cost_what_came_before(web: Web, tmp_path: Path) -> None:
    get(tmp_path, web.put("a", CONTENT, moods.dying(50_000), moods.page), f"{web.url}a")
    assert web.ranges() == [None, "bytes=50000-", "bytes=50000-"]


def test_certificates_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=here -addext"
    command = ["openssl", *words.split(), "subjectAltName=IP:127.0.0.1"]
    try:
        files = ["-keyout", str(key), "-out", str(certificate)]
        subprocess.run([*command, *files], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no openssl to make a certificate with")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    folder = tmp_path / "data"
    folder.mkdir()
    with serving(context) as web, serving() as plain:
        url = web.put("a", CONTENT)
        assert "has a certificate that does not hold" in refused(folder, url)
        assert not web.asked
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        get(folder, url)
        Part(published(), folder).remove()
        web.put("b", CONTENT, moods.leading(plain.put("c", CONTENT)))
        assert "leads to 'http://" in refused(folder, f"{web.url}b")  # from https down to http


# This side ---------------------------------------------------------------------------------------


def test_a_full_disk_is_said_before_anything_comes(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = module.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage._replace(free=100 << 10))
    with pytest.raises(DataError, match=r"has 0 MiB left, and 64 are needed; free some of it"):
        get(tmp_path, web.put("a", CONTENT))
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_keeps_the_part(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, calls = module._append, []

    def full(stream: object, block: bytes, path: Path) -> None:
        calls.append(block)
        if len(calls) > 2:
            raise DataError("Cannot write")
        append(stream, block, path)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_append", full)
    url = web.put("a", CONTENT)
    with pytest.raises(DataError, match="Cannot write"):
        get(tmp_path, url)
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "*")
    get(tmp_path, url)
    assert web.ranges() == [None, f"bytes={sum(map(len, calls[:2]))}-"]


def test_a_file_of_the_user_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "toy.gz"
    for content, message in (
        (b"", "is an empty file"),
        (moods.PAGE, r"is a web page \(titled 'Please sign in'\) in place of toy.gz"),
        (b"\n <html>x", "is a web page in place"),
        (b"nonsense", "is no .gz file: it begins with b'nonsense'"),
        (OTHER, f"has the sha256 .*; expected the published {SHA256}"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            check_file(path, published())
    path.write_bytes(CONTENT)
    assert check_file(path, published()).checked == "sha256"
    with pytest.raises(DataError, match="has the md5"):
        check_file(path, unknown(md5="0" * 32))
