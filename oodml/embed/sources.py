"""Where encoders come from: `<source>:<model>`."""

from __future__ import annotations

from collections.abc import Callable

from oodml.embed.spec import Encoder
from oodml.registry import Name, Registry, plugin_of

Opener = Callable[[Name], Encoder]


def _builtin(name: Name) -> Encoder:
    from oodml.embed.builtin import open_builtin

    return open_builtin(name)


def _network(name: Name) -> Encoder:
    from oodml.embed.opening import open_network

    return open_network(name)


def _file(name: Name) -> Encoder:
    from oodml.embed.file import open_file

    return open_file(name)


def _onnx(name: Name) -> Encoder:
    from oodml.embed.onnx_file import open_onnx

    return open_onnx(name)


def _python(name: Name) -> Encoder:
    from oodml.embed.python_function import open_python

    return open_python(name)


ENCODERS: Registry[Opener] = Registry(
    "encoders",
    {
        "oodml": _builtin,
        "tv": _network,
        "timm": _network,
        "open_clip": _network,
        "file": _file,
        "onnx": _onnx,
        "py": _python,
    },
)


def open_encoder(name: str) -> Encoder:
    """The encoder of a name: `oodml:hog`, `tv:resnet50`, `file:x.safetensors?arch=tv:...`.

    One of a plug-in file has `weights` that follow the file, the name's parameters and all tensors.
    """
    parsed = Name.parse(name)
    made = ENCODERS[parsed.key](parsed)
    plugin = plugin_of("encoders", parsed.key)
    if plugin is None:
        return made
    from oodml.embed.python_function import own_encoder

    facts = [plugin.sha256, parsed.key, parsed.argument, dict(parsed.params)]
    return own_encoder(parsed, facts, made)
