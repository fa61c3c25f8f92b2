"""Asking a web server for a file: http and https only, certificates checked, nothing for ever."""

from __future__ import annotations

import http
import http.client
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

_LATER = (408, 425, 429)  # and from 500 on: a server that may answer another time
_SCHEMES = ("http", "https")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server is waited for, in seconds, and how often it is asked.

    `connect` is for the connection, `read` for the next `least` bytes. A server that fails is
    asked `tries` times, first after `pause`, then after twice as long each time; the count begins
    anew when it has given `worth` bytes.
    """

    connect: float = 15.0
    read: float = 30.0
    tries: int = 4
    pause: float = 2.0
    least: int = 1 << 10
    worth: int = 1 << 20


class RefusedError(Exception):
    """This address will not give the file."""


class RangeError(RefusedError):
    """The rest was asked for, and there is no such rest."""


class PassingError(Exception):
    """This address may give the file, or the rest of it, another time."""


Response = http.client.HTTPResponse


@contextmanager
def asked(url: str, headers: Mapping[str, str], patience: Patience) -> Iterator[Response]:
    """The answer to GET, its body not yet read; what goes wrong is one of the two errors."""
    if urllib.request.Request(url).type not in _SCHEMES:
        raise RefusedError("is no http or https address")
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", **headers})
    try:
        with _opener(patience).open(request, timeout=patience.connect) as response:
            yield response
    except urllib.error.HTTPError as error:
        error.close()
        said = f"answers {error.code} {_first_line(error.reason)}"
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise RangeError(said) from None
        passing = error.code in _LATER or error.code >= 500
        raise (PassingError if passing else RefusedError)(said) from None
    except urllib.error.URLError as error:
        raise _unreachable(error.reason) from None
    except TimeoutError:
        raise PassingError(f"gave nothing for {patience.read:g} s") from None
    except (http.client.HTTPException, OSError) as error:
        raise PassingError(f"broke off ({_first_line(error) or type(error).__name__})") from None


def _first_line(text: object) -> str:
    """One line of what a server or a library says, and not too much of it."""
    return next(iter(str(text).splitlines()), "")[:200]


def _unreachable(reason: object) -> RefusedError | PassingError:
    if isinstance(reason, ssl.SSLCertVerificationError):
        return RefusedError(f"has a certificate that does not hold ({reason.verify_message})")
    if isinstance(reason, socket.gaierror):
        return RefusedError("cannot be found (is there a connection to the internet?)")
    if isinstance(reason, TimeoutError):
        return PassingError("does not answer")
    return PassingError(f"cannot be reached ({_first_line(reason)})")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """A few of them, to http or https, and never from https down to http."""

    max_repeats = 2
    max_redirections = 5

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        target = urllib.request.Request(newurl).type
        if target not in _SCHEMES or (req.type == "https" and target == "http"):
            fp.close()
            raise RefusedError(f"leads to {newurl[:200]!a}, which is not safe")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(patience: Patience) -> urllib.request.OpenerDirector:
    """No ftp:, file: or data: among its handlers; proxies are those of the environment."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        _Redirects(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Plain(patience),
        _Secure(patience),
    ):
        opener.add_handler(handler)
    return opener


class _Plain(urllib.request.HTTPHandler):
    def __init__(self, patience: Patience) -> None:
        super().__init__()
        self._patience = patience

    def http_open(self, req: urllib.request.Request) -> Response:
        make: Any = _waiting(http.client.HTTPConnection, self._patience)
        return self.do_open(make, req)


class _Secure(urllib.request.HTTPSHandler):
    def __init__(self, patience: Patience) -> None:
        super().__init__()
        self._patience = patience

    def https_open(self, req: urllib.request.Request) -> Response:
        make: Any = _waiting(http.client.HTTPSConnection, self._patience)
        return self.do_open(make, req, context=ssl.create_default_context())


def _waiting(
    kind: type[http.client.HTTPConnection], patience: Patience
) -> Callable[..., http.client.HTTPConnection]:
    """Connections that wait for bytes as long as `patience.read`, once they are made."""

    class Connection(kind):  # type: ignore[valid-type, misc]
        def connect(self) -> None:
            super().connect()
            self.sock.settimeout(patience.read)

    return Connection
