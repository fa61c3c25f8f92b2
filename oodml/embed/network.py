"""A torch module as an encoder."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from oodml.embed.device import PRECISIONS, arithmetic
from oodml.embed.images import SpecTransform
from oodml.embed.spec import Encoder, EncoderSpec
from oodml.errors import UnknownNameError, WeightsError

if TYPE_CHECKING:
    import torch

_PROBE = 2  # images that a folded copy must give the same vectors for
_ALIKE = 1e-3  # relative to the largest number in them


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A torch module on normalised images, computing on `device` in the spec's precision."""

    spec: EncoderSpec
    module: torch.nn.Module
    device: str = "cpu"

    @property
    def transform(self) -> SpecTransform:
        return SpecTransform(self.spec)

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """`(b, 3, size, size)` uint8 as `(b, dim)` float32, on the network's device."""
        with arithmetic(self.device, self.spec.precision):
            if self.device != "cpu":  # from pinned memory, the copy runs beside the computing
                batch = batch.pin_memory().to(self.device, non_blocking=True)
            vectors: torch.Tensor = self.module(self.normalised(batch))
            # A module of one's own may give anything, which is said where it is opened.
            return vectors.float() if hasattr(vectors, "float") else vectors

    def normalised(self, batch: torch.Tensor) -> torch.Tensor:
        """`(b, 3, size, size)` uint8 as the float32 input of the module."""
        import torch

        mean = torch.tensor(self.spec.mean, device=batch.device).view(1, -1, 1, 1)
        std = torch.tensor(self.spec.std, device=batch.device).view(1, -1, 1, 1)
        scaled = (batch.float() / 255 - mean) / std
        return scaled.contiguous(memory_format=torch.channels_last)

    def prepared(self, device: str) -> Network:
        """A copy on a device that embeds faster: every batch norm is folded into its convolution.

        The vectors are the same up to rounding.
        """
        import torch

        generator = torch.Generator().manual_seed(0)
        channels = 1 if self.spec.mode == "L" else 3
        shape = (_PROBE, channels, self.spec.size, self.spec.size)
        probe = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        with arithmetic(self.device, "float32"):
            module = fold_norms(self.module, self.normalised(probe.to(self.device)))
        module = module.to(device).to(memory_format=torch.channels_last)
        return replace(self, module=module, device=device)


def set_precision(encoder: Encoder, precision: str) -> Encoder:
    """The encoder computing in a precision; `UnknownNameError` where it cannot."""
    if precision not in PRECISIONS:
        raise UnknownNameError(f"Precision {precision!r} is not known; expected float32 or bf16.")
    if precision == encoder.spec.precision:
        return encoder
    if not isinstance(encoder, Network):
        raise UnknownNameError(
            f"Encoder {encoder.spec.name!r} is no torch network and computes in "
            f"{encoder.spec.precision} only; leave the precision out."
        )
    return replace(encoder, spec=replace(encoder.spec, precision=precision))


def fold_norms(module: torch.nn.Module, inputs: torch.Tensor) -> torch.nn.Module:
    """A copy for inference, with the batch norms that follow a convolution folded into it.

    What follows what is seen in a pass of `inputs`; where the copy does not give the same vectors,
    or none (a module that looks into its parts, or uses one of them twice), nothing is folded.
    Raises `WeightsError` where the module cannot be copied.
    """
    import copy

    import torch

    try:
        own = copy.deepcopy(module)
    except Exception as error:  # noqa: BLE001 - whatever a module of one's own holds
        raise WeightsError(
            f"A {type(module).__name__} cannot be copied ({error}); keep what is no part of its "
            "computing, such as open files and locks, out of it."
        ) from None
    if not {type(child) for child in own.modules()} >= {torch.nn.Conv2d, torch.nn.BatchNorm2d}:
        return own
    folded = None
    with suppress(Exception):  # whatever a module of one's own does
        folded = _folded(own, inputs)
    return copy.deepcopy(module) if folded is None else folded


def _folded(folded: torch.nn.Module, inputs: torch.Tensor) -> torch.nn.Module | None:
    """The module itself, changed; None where it then gives other vectors."""
    import torch
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    expected = folded(inputs)
    names = {child: name for name, child in folded.named_modules()}
    pairs = _norms_after(folded, inputs)
    for convolution, norm in pairs:
        _put(folded, names[convolution], fuse_conv_bn_eval(convolution, norm))
        _put(folded, names[norm], torch.nn.Identity())
    away = float((folded(inputs) - expected).abs().max()) if pairs else 0.0
    return folded if away <= _ALIKE * float(expected.abs().max()) else None


def _norms_after(module: torch.nn.Module, inputs: torch.Tensor) -> list[tuple[Any, Any]]:
    """Each convolution whose output goes into a batch norm, with it; both are called once."""
    import torch

    calls: list[tuple[Any, Any, Any]] = []  # the tensors too, so that none takes another's place

    def note(child: torch.nn.Module, given: Any, made: Any) -> None:
        calls.append((child, given[0] if given else None, made))  # None: it was given by its name

    hooks = [
        child.register_forward_hook(note)
        for child in module.modules()
        if type(child) in (torch.nn.Conv2d, torch.nn.BatchNorm2d)
    ]
    try:
        module(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    children = [child for child, _, _ in calls]
    makers = {id(made): child for child, _, made in calls if type(child) is torch.nn.Conv2d}
    pairs = [
        (makers[id(given)], child)
        for child, given, _ in calls
        if type(child) is torch.nn.BatchNorm2d and id(given) in makers
    ]
    return [pair for pair in pairs if all(children.count(child) == 1 for child in pair)]


def _put(module: torch.nn.Module, name: str, child: torch.nn.Module) -> None:
    """Put another module in the place of a dotted name."""
    parent, _, last = name.rpartition(".")
    setattr(module.get_submodule(parent), last, child)
