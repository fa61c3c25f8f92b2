"""A web server with moods, for tests of what fetches files."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Mood = Callable[["Handler"], None]
PAGE = b"<!DOCTYPE html>\n<html><head><title>Please sign in</title></head><body>No.</body></html>"


@dataclass
class Web:
    """What is served, how it is served next (then plainly), and what was asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    moods: dict[str, list[Mood]] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # path, Range
    tag: str = '"{}"'  # how an ETag is written; a weak one begins with W/, empty: there is none
    closing: threading.Event = field(default_factory=threading.Event)

    def put(self, path: str, content: bytes, *moods: Mood) -> str:
        key = f"/{path}"
        self.files[key], self.moods[key] = content, list(moods)
        return self.url + path

    def ranges(self) -> list[str | None]:
        return [asked for _, asked in self.asked]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        web: Web = self.server.web
        self.close_connection = True
        web.asked.append((self.path, self.headers.get("Range")))
        if self.path not in web.files:
            self.head(404, "Content-Length: 0")
        elif web.moods[self.path]:
            web.moods[self.path].pop(0)(self)
        else:
            plainly(self)

    @property
    def content(self) -> bytes:
        return self.server.web.files[self.path]

    def head(self, code: int, *lines: str) -> None:
        self.send_response(code)
        for line in lines:
            self.send_header(*line.split(": ", 1))
        self.end_headers()

    def body(self, content: bytes) -> None:
        self.wfile.write(content)
        self.wfile.flush()

    def sleep(self, seconds: float) -> None:
        """Wait, but not longer than the server lives."""
        self.server.web.closing.wait(seconds)

    def log_message(self, *args: object) -> None:
        pass


def plainly(handler: Handler, limit: int | None = None, pace: float = 0.0) -> None:
    """As a good server does it, with Range and If-Range; only `limit` bytes if so asked."""
    content = handler.content
    tag = handler.server.web.tag.format(hashlib.sha256(content).hexdigest()[:8])
    tags = [f"ETag: {tag}"] if tag else []
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    start = int(asked[1]) if asked and handler.headers.get("If-Range", tag) == tag else 0
    if start and start >= len(content):
        handler.head(416, "Content-Length: 0")
        return
    length = f"Content-Length: {len(content) - start}"
    if start:
        span = f"Content-Range: bytes {start}-{len(content) - 1}/{len(content)}"
        handler.head(206, length, span, *tags)
    else:
        handler.head(200, length, *tags)
    rest = content[start:][:limit]
    for at in range(0, len(rest), 1 << 14) if pace else []:
        handler.body(rest[at : at + (1 << 14)])
        handler.sleep(pace)
    if not pace:
        handler.body(rest)


# Moods -------------------------------------------------------------------------------------------


def dying(after: int) -> Mood:
    """The connection ends after some bytes."""
    return lambda handler: plainly(handler, after)


def slow(pace: float) -> Mood:
    """16 KiB, then a pause of some seconds, and so on."""
    return lambda handler: plainly(handler, None, pace)


def stalling(after: int, seconds: float = 10.0) -> Mood:
    """Nothing comes any more after some bytes, but the connection stays."""

    def mood(handler: Handler) -> None:
        plainly(handler, after)
        handler.sleep(seconds)

    return mood


def trickling(handler: Handler) -> None:
    """A byte now and then."""
    handler.head(200, f"Content-Length: {len(handler.content)}")
    for at in range(len(handler.content)):
        handler.body(handler.content[at : at + 1])
        handler.sleep(0.05)


def answering(code: int, *lines: str, body: bytes = b"") -> Mood:
    def mood(handler: Handler) -> None:
        handler.head(code, f"Content-Length: {len(body)}", *lines)
        handler.body(body)

    return mood


def page(handler: Handler) -> None:
    """A web page, said to be an archive."""
    answering(200, "Content-Type: application/zip", body=PAGE)(handler)


def deaf(handler: Handler) -> None:
    """The whole file, whatever part was asked for."""
    answering(200, body=handler.content)(handler)


def claiming(length: int) -> Mood:
    """The whole file under a wrong Content-Length."""

    def mood(handler: Handler) -> None:
        handler.head(200, f"Content-Length: {length}")
        handler.body(handler.content)

    return mood


def endless(handler: Handler) -> None:
    """No length, and far too much."""
    handler.head(200)
    for _ in range(64):
        handler.body(handler.content)


def unmeasured(handler: Handler) -> None:
    """The whole file, no length: the end of the connection is its end."""
    handler.head(200)
    handler.body(handler.content)


def chunked(handler: Handler) -> None:
    handler.head(200, "Transfer-Encoding: chunked")
    for at in range(0, len(handler.content), 1000):
        block = handler.content[at : at + 1000]
        handler.body(f"{len(block):x}\r\n".encode() + block + b"\r\n")
    handler.body(b"0\r\n\r\n")


def elsewhere(handler: Handler) -> None:
    """Another part than the one that was asked for."""
    if "Range" in handler.headers:
        size = len(handler.content)
        answering(206, f"Content-Range: bytes 0-{size - 1}/{size}", body=handler.content)(handler)
    else:
        plainly(handler)


def leading(to: str, code: int = 302) -> Mood:
    return answering(code, f"Location: {to}")


# The server --------------------------------------------------------------------------------------


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that goes away in the middle is what is tested


@contextmanager
def serving(context: Any = None) -> Iterator[Web]:
    """A server on this machine; `context` is that of TLS."""
    server = _Server(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "https" if context else "http"
    server.web = Web(f"{scheme}://127.0.0.1:{server.server_address[1]}/")  # type: ignore[attr-defined]
    web: Web = server.web  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield web
    finally:
        web.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
