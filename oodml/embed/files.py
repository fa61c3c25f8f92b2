"""Published weights on this machine: found where the libraries keep them, or downloaded once.

Servers that do not answer are given up on after `PROBE` seconds, whatever their name server does;
what came before a download broke off lies in a hidden file beside its target, and is gone on with.
"""

from __future__ import annotations

import fcntl
import logging
import os
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from oodml.data.download import Part, Progress, download
from oodml.data.facts import Archive
from oodml.data.transport import PassingError, Patience, RefusedError, asked
from oodml.errors import DataError, WeightsError
from oodml.store import file_digest, home, offline

PROBE = 2.5  # seconds for the first sign of life, of all addresses of a file together
TELL = 10.0  # seconds between two lines on how far a download is
PATIENCE = Patience(connect=4.0, read=15.0, tries=2, pause=1.0)
_log = logging.getLogger(__name__)
_ABSENT = "answers 404"


def torch_weights(url: str) -> Path:
    """The file of torchvision's weights in torch's own cache (`TORCH_HOME`), its hash checked.

    The published names end with the first digits of the file's sha256.
    """
    import torch

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / url.rsplit("/", 1)[1]
    begins = path.stem.rsplit("-", 1)[-1]
    if not path.is_file():
        return _fetched(path, f"the file of {url}", [url], begins)
    if not (found := file_digest(path)).startswith(begins):
        raise WeightsError(
            f"{path} has the sha256 {found}; expected one that begins with {begins}: it is damaged "
            "or another file, remove it and get it again."
        )
    return path


def hub_weights(repository: str, files: tuple[str, ...]) -> Path:
    """The first of `files` of a Hugging Face repository that is on this machine, or can be had.

    It is looked for in Hugging Face's own cache (`HF_HOME`) and in `OODML_HOME/weights/REPOSITORY`,
    where it is also downloaded to. `HF_ENDPOINT` names a mirror.
    """
    folder = home() / "weights" / repository
    for file in files:
        for path in (_in_hub_cache(repository, file), folder / file):
            if path and path.is_file():
                return path
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    urls = [f"{endpoint}/{repository}/resolve/main/{quote(file)}" for file in files]
    what = f"{' or '.join(files)} of huggingface.co/{repository}"
    return _fetched(folder / files[0], what, urls)


def _in_hub_cache(repository: str, file: str) -> Path | None:
    """Where Hugging Face's cache has the file; nothing is asked of the network."""
    cache = os.environ.get("HF_HUB_CACHE")
    root = os.environ.get("HF_HOME") or Path(
        os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "huggingface"
    )
    kept = Path(cache or Path(root, "hub")) / f"models--{repository.replace('/', '--')}"
    try:
        revision = (kept / "refs" / "main").read_text().strip()
    except OSError:
        return None
    return kept / "snapshots" / revision / file


def _fetched(path: Path, what: str, urls: list[str], begins: str = "") -> Path:
    """Download the first of `urls` that exists, beside `path`; `begins` is of its sha256."""
    advice = f"Weights {path.name} are not on this machine: put {what} at {path}"
    if offline():
        raise WeightsError(f"{advice} (OODML_OFFLINE is set, nothing is downloaded).")
    reason, deadline = "", time.monotonic() + PROBE
    for url, answers in [(url, _asked(url)) for url in urls]:
        reason = _probed(answers, deadline)
        if not reason:
            return _downloaded(path.parent / url.rsplit("/", 1)[1], url, begins)
        if not reason.startswith(_ABSENT):
            break
    raise WeightsError(f"{advice} (the download failed: {url} {reason}).")


def _asked(url: str) -> queue.Queue[str]:
    """Where it will be said what is wrong with an address; empty where it answers."""
    answers: queue.Queue[str] = queue.Queue()

    def ask() -> None:
        try:
            with asked(url, {}, Patience(connect=PROBE, read=PROBE)):
                answers.put("")
        except (RefusedError, PassingError) as error:
            answers.put(str(error))

    # Not a pool: a name server that hangs keeps the thread, and the program would wait for it.
    threading.Thread(target=ask, daemon=True).start()
    return answers


def _probed(answers: queue.Queue[str], deadline: float) -> str:
    try:
        return answers.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        return f"does not answer within {PROBE:g} s"


def _downloaded(path: Path, url: str, begins: str) -> Path:
    part = Part(Archive(path.name, (url,)), path.parent)
    with _alone(path):
        if path.is_file():  # another process has fetched it meanwhile
            return path
        try:
            found = download(part, (url,), PATIENCE, _teller(url))
        except DataError as error:
            raise WeightsError(str(error)) from None
        if not found.sha256.startswith(begins):
            part.remove()
            raise WeightsError(
                f"{url} gives a file with the sha256 {found.sha256}; expected one that begins with "
                f"{begins}: get {path.name} elsewhere and put it at {path}."
            )
        part.path.replace(path)
        part.notes.unlink(missing_ok=True)
    return path


def _teller(url: str) -> Progress:
    """What says at the start and every `TELL` seconds how far a download is."""
    said = float("-inf")

    def tell(done: int, total: int) -> None:
        nonlocal said
        if (now := time.monotonic()) - said >= TELL:
            said = now
            _log.warning("Fetching %s: %.1f of %.1f MB.", url, done / 1e6, total / 1e6)

    return tell


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a file's folder against other downloads, after waiting for the one that is under way.

    The hold ends with the process at the latest. One for each file would leave files behind.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise WeightsError(
            f"Cannot write {path}: {error.strerror or error}; put the file there by hand."
        ) from None
    try:
        with suppress(OSError):  # this file system has no locks
            _wait_for(handle, path.parent)
        yield
    finally:
        os.close(handle)


def _wait_for(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _log.warning("Another process is fetching weights into %s; waiting for it.", folder)
        fcntl.flock(handle, fcntl.LOCK_EX)
