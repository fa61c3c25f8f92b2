"""Whether an encoder keeps the promises of the protocol, on a few digits, every fault named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from oodml.data import load_data
from oodml.data.images import read_image
from oodml.embed.network import Network
from oodml.embed.shapes import CHANNELS, spec_faults
from oodml.embed.sources import open_encoder
from oodml.embed.spec import Encoder, EncoderSpec
from oodml.errors import OodmlError

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]
IMAGES = 12
_ORDER = "in another order"
# How far a vector may move, relative to its length, when the same image comes in another batch.
# Kernels sum in another order then, and float32 rounds at 6e-8: 1e-6 to 1e-5 was seen over networks
# of 20 to 150 layers, and batch normalisation in training mode moves vectors by 0.1 and more.
# Half precisions round at 4e-3 (bfloat16).
_TOLERANCE, _HALF_TOLERANCE = 1e-3, 5e-2


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found: the spec, if the encoder has one, and a sentence a fault."""

    name: str
    spec: EncoderSpec | None
    faults: tuple[str, ...]


def inspect_encoder(encoder: Encoder | str, *, images: int = IMAGES) -> Inspection:
    """Open an encoder and look at what it does with `images` of the digits; takes seconds.

    Faults are collected: those that make it impossible to go on end the list.
    """
    name = encoder if isinstance(encoder, str) else type(encoder).__name__
    spec, faults = None, []
    try:
        opened = open_encoder(encoder) if isinstance(encoder, str) else encoder
        spec = opened.spec
        faults += spec_faults(spec)
        if not faults:
            batch, found = _shown(opened, images)
            faults += found
            if isinstance(opened, Network):  # what embeds is a copy
                opened = opened.prepared("cpu")
            if batch is not None:
                faults += _vector_faults(opened, batch)
    except OodmlError as error:
        faults.append(str(error))
    return Inspection(name, spec, tuple(faults))


# The images --------------------------------------------------------------------------------------


def _shown(encoder: Encoder, images: int) -> tuple[torch.Tensor | None, list[str]]:
    """A batch of what the transform makes of the digits, if it can be made, and its faults."""
    import torch

    data, spec = load_data("digits"), encoder.spec
    expected = (CHANNELS[spec.mode], spec.size, spec.size)
    rows = np.linspace(0, len(data) - 1, images).astype(int)  # of many classes
    shown, faults = [], []
    for row in rows:
        picture = read_image(data, int(row))
        before = picture.tobytes()
        found, fault = _attempt(partial(encoder.transform, picture))
        if fault:
            return None, [f"transform fails ({fault})."]
        faults += _image_faults(found, expected)
        if picture.tobytes() != before:
            faults.append("transform changes the image that it is given.")
        shown.append(found)
    faults = list(dict.fromkeys(faults))
    if any(not isinstance(x, np.ndarray) or x.shape != expected for x in shown):
        return None, faults
    again, fault = _attempt(partial(encoder.transform, read_image(data, int(rows[0]))))
    if fault:
        return None, [*faults, f"transform fails at the same image the second time ({fault})."]
    if not np.array_equal(again, shown[0]):
        faults.append("transform makes two inputs of one image; expected the same one every time.")
    return torch.from_numpy(np.stack(shown)), faults


def _image_faults(found: object, expected: tuple[int, ...]) -> list[str]:
    if not isinstance(found, np.ndarray):
        return [f"transform gives a {type(found).__name__}; expected a numpy array of uint8."]
    if found.dtype != np.uint8 or found.shape != expected:
        return [f"transform gives {found.dtype} {found.shape}; the spec promises uint8 {expected}."]
    return []


# The vectors -------------------------------------------------------------------------------------


def _vector_faults(encoder: Encoder, batch: torch.Tensor) -> list[str]:
    before = batch.clone()
    found, fault = _attempt(lambda: encoder(batch))
    if fault:
        return [f"A batch of {len(batch)} images fails ({fault})."]
    faults = _kind_faults(found, (len(batch), encoder.spec.dim))
    if not bool((batch == before).all()):
        faults.append("The call changes the batch that it is given; expected it as it was.")
        batch = before.clone()
    vectors = _numbers_of(found)
    if vectors is None or len(vectors) != len(batch):
        return faults
    if wrong := int((~np.isfinite(vectors)).any(axis=1).sum()):
        return [*faults, f"{wrong} of {len(batch)} vectors hold NaN or infinity."]
    return faults + _collapse_faults(vectors) + list(_change_faults(encoder, batch, vectors))


def _kind_faults(found: object, expected: tuple[int, int]) -> list[str]:
    import torch

    if not isinstance(found, torch.Tensor):
        return [f"The call gives a {type(found).__name__}; expected a torch.Tensor."]
    faults = []
    if tuple(found.shape) != expected:
        faults.append(
            f"The call gives {tuple(found.shape)} for {expected[0]} images; the spec promises "
            f"{expected}."
        )
    if found.dtype != torch.float32:
        faults.append(
            f"The call gives {str(found.dtype).removeprefix('torch.')}; expected float32: end it "
            "with .float()."
        )
    if found.requires_grad:
        faults.append(
            "The vectors keep their gradients, which fills the memory; expected the call within "
            "torch.inference_mode()."
        )
    return faults


def _collapse_faults(vectors: Array) -> list[str]:
    spread = np.abs(vectors - vectors[0]).max()
    if spread > 1e-6 * max(np.abs(vectors).max(), 1e-30):
        return []
    what = "zero" if not vectors.any() else "the same"
    return [f"All {len(vectors)} vectors are {what}; expected others for other images."]


def _change_faults(encoder: Encoder, batch: torch.Tensor, vectors: Array) -> Iterator[str]:
    """What another call, order or size of the batch changes."""
    import torch

    again, fault = _attempt(lambda: encoder(batch.clone()))
    again = None if fault else _numbers_of(again)
    if again is None or not np.array_equal(again, vectors):
        yield (
            f"Two calls with the same batch differ{_by(again, vectors)}; expected equal ones: is "
            "dropout on (call .eval()), or another random part?"
        )
        return  # what is random differs in every way
    tolerance = _TOLERANCE if encoder.spec.precision == "float32" else _HALF_TOLERANCE
    order = torch.arange(len(batch)).flip(0)
    ways: dict[str, Callable[[], Any]] = {
        _ORDER: lambda: encoder(batch[order])[order],
        "one by one": lambda: torch.cat([encoder(one.clone()) for one in batch.split(1)]),
        "in batches of 5": lambda: torch.cat([encoder(part.clone()) for part in batch.split(5)]),
    }
    for way, call in ways.items():
        found, fault = _attempt(call)
        other = None if fault else _numbers_of(found)
        if fault:
            yield f"The same images {way} fail ({fault})."
        elif other is None or not _distance(other, vectors) <= tolerance:
            hint = (
                "" if way == _ORDER else ": is batch normalisation in training mode (call .eval())?"
            )
            yield (
                f"The same images {way} give other vectors{_by(other, vectors)}; expected no more "
                f"than {tolerance:g} of their length{hint or '.'}"
            )


def _by(other: Array | None, vectors: Array) -> str:
    distance = None if other is None else _distance(other, vectors)
    return "" if distance is None or not np.isfinite(distance) else f" by {distance:.2g}"


def _distance(one: Array, other: Array) -> float:
    """The largest distance of two vectors of an image, relative to the typical length."""
    if one.shape != other.shape:
        return float("inf")
    length = float(np.median(np.linalg.norm(other, axis=1))) or 1.0
    return float(np.linalg.norm(one - other, axis=1).max()) / length


def _numbers_of(found: object) -> Array | None:
    import torch

    if not isinstance(found, torch.Tensor) or found.ndim != 2:
        return None
    return np.asarray(found.detach().cpu().double().numpy())


def _attempt(call: Callable[[], Any]) -> tuple[Any, str]:
    """What a call gives, and what went wrong in it; the latter is empty where nothing did."""
    try:
        return call(), ""
    except Exception as error:  # noqa: BLE001 - whatever an encoder of one's own does
        return None, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:300]
