"""Files that look like published weights, put where the libraries look for them."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file


def publish_torchvision(
    patch: pytest.MonkeyPatch, home: Path, weights: Any, state: Mapping[str, torch.Tensor]
) -> Path:
    """A state dict in torch's cache as the file of `weights`, named by its own hash."""
    folder = home / "hub" / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state), folder / "new.pth")
    found = hashlib.sha256((folder / "new.pth").read_bytes()).hexdigest()
    path = (folder / "new.pth").rename(folder / f"net-{found[:8]}.pth")
    patch.setenv("OODML_OFFLINE", "1")
    patch.setenv("TORCH_HOME", str(home))
    patch.setattr(weights.value, "url", f"https://download.pytorch.org/models/{path.name}")
    return path


def publish_hub(home: Path, repository: str, file: str, state: Mapping[str, torch.Tensor]) -> Path:
    """A state dict in Hugging Face's cache below `home`."""
    kept = home / "hub" / f"models--{repository.replace('/', '--')}"
    path = kept / "snapshots" / "0123abcd" / file
    path.parent.mkdir(parents=True)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("0123abcd")
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return path


@contextmanager
def silent_server() -> Iterator[str]:
    """The address of a server that takes connections and never says a word."""
    server = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []

    def hold() -> None:
        while True:
            try:
                held.append(server.accept()[0])
            except OSError:
                return

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()
        for connection in held:
            connection.close()
