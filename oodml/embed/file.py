"""`file:`: weights of one's own."""

from __future__ import annotations

from pathlib import Path

from oodml.embed.architectures import find_architecture
from oodml.embed.opening import portable
from oodml.embed.shapes import SHAPE_OPTIONS, input_shape
from oodml.embed.spec import Encoder
from oodml.embed.trained import split_head, stored_shape, trained_network
from oodml.embed.weights import read_safetensors
from oodml.errors import WeightsError
from oodml.registry import Name


def open_file(name: Name) -> Encoder:
    """`file:WEIGHTS.safetensors?arch=tv:ARCH&mean=M&std=S&size=S`: one's own weights.

    The architecture is one of torchvision, timm or open_clip, perhaps with a head
    (`tv:mobilenet_v2+linear:512`). A file that `oodml run` wrote says itself which it is, and what
    its input is.
    """
    options = name.resolve({**SHAPE_OPTIONS, "arch": ""})
    path = Path(name.argument)
    if path.suffix == ".onnx":
        raise WeightsError(f"{path} is an ONNX file; write onnx:{name.argument}.")
    state, metadata = read_safetensors(path)
    arch = _arch(name, options["arch"], metadata.get("arch", ""))
    architecture = find_architecture(split_head(arch)[0])
    stored = stored_shape(path, metadata)
    defaults = {**architecture.shape, **stored}
    if stored:
        defaults["refused"] = None
    shape = input_shape(name, options, defaults)
    return trained_network(portable(name, path), arch, state, path, shape)


def _arch(name: Name, asked: str, stored: str) -> str:
    """The architecture that the name says, or the file; raises where they contradict each other."""
    if not (asked or stored):
        raise WeightsError(
            f"{name.text!r} has no arch; expected a network of torchvision, timm or open_clip, as "
            "in file:weights.safetensors?arch=tv:resnet50."
        )
    if asked and stored and _plain(asked) != _plain(stored):
        raise WeightsError(
            f"{name.text!r} has arch {asked!r}, and the file says that it is {stored!r}; leave the "
            "arch out."
        )
    return asked or stored


def _plain(arch: str) -> str:
    """The architecture as specs have it, without the tag of published weights."""
    backbone, head = split_head(arch)
    return find_architecture(backbone).name + (f"+{head}" if head else "")
