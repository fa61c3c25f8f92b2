"""From a name to an encoder: a network, its weights and the input that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodml.embed.architectures import Architecture, find_architecture
from oodml.embed.holdings import held_digest
from oodml.embed.network import Network
from oodml.embed.shapes import SHAPE_OPTIONS, input_shape
from oodml.embed.spec import EncoderSpec
from oodml.embed.weights import filled, read_safetensors
from oodml.errors import UnknownNameError, WeightsError
from oodml.registry import Name
from oodml.store import file_digest

if TYPE_CHECKING:
    import torch

    State = Mapping[str, torch.Tensor]


def open_network(name: Name) -> Network:
    """`tv:ARCH[.TAG]`, `timm:MODEL[.TAG]` or `open_clip:ARCH/TAG`.

    With published weights, one's own (`?weights=PATH.safetensors`) or random ones
    (`?init=random&seed=0`); `size=S` resizes both sides.
    """
    options = name.resolve({**SHAPE_OPTIONS, "init": "", "seed": 0, "weights": ""})
    architecture = find_architecture(f"{name.key}:{name.argument}")
    if options["init"] not in ("", "random") or (options["init"] and options["weights"]):
        raise UnknownNameError(
            f"{name.text!r}: init is {options['init']!r}; expected random, and then no weights."
        )
    if options["init"]:
        shape = input_shape(name, options, architecture.shape)
        module = random_module(architecture, shape["size"], options["seed"])
        # Not the seed alone: another release of torch may draw other numbers from it.
        weights = f"random:{options['seed']} {held_digest(module)}"
        return make_network(name.text, architecture.name, module, weights=weights, shape=shape)
    published = architecture.published()
    shape = input_shape(name, options, published.shape)
    if options["weights"]:
        return local_network(name, architecture, Path(options["weights"]), shape)
    path = published.locate()
    module = published.load(path, shape["size"])
    network = make_network(
        name.text, architecture.name, module, weights=file_digest(path), shape=shape
    )
    return Network(replace(network.spec, licence=published.licence), network.module)


def local_network(
    name: Name, architecture: Architecture, path: Path, shape: Mapping[str, Any]
) -> Network:
    """A network with the weights of a file of one's own, in the library's key names."""
    state, _ = read_safetensors(path)
    module = fitted(architecture, state, shape["size"], path.name)
    return make_network(
        portable(name, path), architecture.name, module, weights=file_digest(path), shape=shape
    )


def portable(name: Name, path: Path) -> str:
    """The name with the file's name for its path, which means nothing in results and caches."""
    source, _, query = name.text.partition("?")
    if name.key in ("file", "onnx"):
        source = f"{name.key}:{path.name}"
    pairs = [
        f"weights={path.name}" if pair.startswith("weights=") else pair for pair in query.split("&")
    ]
    return f"{source}?{'&'.join(pairs)}" if query else source


def random_module(architecture: Architecture, size: int, seed: int) -> torch.nn.Module:
    """The network with weights that are a function of the seed; torch's generator is left alone."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return architecture.build(size).module


def fitted(architecture: Architecture, state: State, size: int, where: str) -> torch.nn.Module:
    """The network with a state dict, its own or, where the keys differ, as the library reads it."""
    state = architecture.prepare(state, size) if architecture.prepare else state
    build = partial(architecture.build, size)
    try:
        return filled(build, state, where, architecture.name)
    except WeightsError:
        if architecture.convert is None:
            raise
        try:
            return architecture.convert(state, size)
        except WeightsError:
            pass  # what is said of the keys as they are says more
        raise


def make_network(
    name: str, arch: str, module: torch.nn.Module, *, weights: str, shape: Mapping[str, Any]
) -> Network:
    """The encoder of a module, tried on one image, which also tells its dimension."""
    import torch

    module = module.eval().to(memory_format=torch.channels_last)
    spec = EncoderSpec(name=name, arch=arch, dim=0, weights=weights, pool="network", **shape)
    sides = f"{spec.size} x {spec.size} pixels"
    image = torch.zeros(1, 3, spec.size, spec.size, dtype=torch.uint8)
    try:
        found = Network(spec, module)(image)
    except Exception as error:  # noqa: BLE001 - whatever a module of one's own does
        reason = str(error).partition("\n")[0].rstrip(". ") or type(error).__name__
        raise WeightsError(
            f"{name!r} cannot take images of {sides} ({reason}); choose another size."
        ) from None
    if not isinstance(found, torch.Tensor) or found.ndim != 2 or len(found) != 1:
        shown = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise WeightsError(
            f"{name!r} gives {shown} for one image of {sides}; expected one vector: choose another "
            "network."
        )
    if not found.isfinite().all():
        raise WeightsError(
            f"{name!r} gives vectors with NaN or infinity; its weights are damaged, choose others."
        )
    return Network(replace(spec, dim=found.shape[1]), module)
