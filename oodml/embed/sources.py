"""Where encoders come from: `<source>:<model>`."""

from __future__ import annotations

from collections.abc import Callable

from oodml.embed.spec import Encoder
from oodml.registry import Name, Registry

Opener = Callable[[Name], Encoder]


def _builtin(name: Name) -> Encoder:
    from oodml.embed.builtin import open_builtin

    return open_builtin(name)


def _torchvision(name: Name) -> Encoder:
    from oodml.embed.networks import open_torchvision

    return open_torchvision(name)


def _file(name: Name) -> Encoder:
    from oodml.embed.networks import open_file

    return open_file(name)


ENCODERS: Registry[Opener] = Registry(
    "encoders", {"oodml": _builtin, "tv": _torchvision, "file": _file}
)


def open_encoder(name: str) -> Encoder:
    """The encoder of a name: `oodml:hog`, `tv:resnet50`, `file:x.safetensors?arch=tv:...`."""
    parsed = Name.parse(name)
    return ENCODERS[parsed.key](parsed)
