"""`onnx:`: a network in an ONNX file (the extra `onnx`), on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oodml.embed.images import SpecTransform
from oodml.embed.opening import portable
from oodml.embed.shapes import SHAPE_OPTIONS, input_shape
from oodml.embed.spec import Encoder, EncoderSpec
from oodml.errors import UnknownNameError, WeightsError
from oodml.registry import Name
from oodml.store import digest, file_digest

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class OnnxNetwork:
    """A session of onnxruntime on normalised images; `batch` is the size that it insists on."""

    spec: EncoderSpec
    session: Any
    batch: int | None

    @property
    def transform(self) -> SpecTransform:
        return SpecTransform(self.spec)

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        import torch

        mean, std = (
            np.array(values, dtype=np.float32).reshape(1, -1, 1, 1)
            for values in (self.spec.mean, self.spec.std)
        )
        images = (batch.cpu().numpy().astype(np.float32) / 255 - mean) / std
        step = self.batch or max(1, len(images))
        parts = [self._run(images[at : at + step], step) for at in range(0, len(images), step)]
        return torch.from_numpy(np.concatenate(parts))

    def _run(self, images: Array, step: int) -> Array:
        """The vectors of at most `step` images; where it insists on a number, zeros fill it up."""
        n = len(images)
        if self.batch and n < step:
            images = np.concatenate([images, np.zeros((step - n, *images.shape[1:]), np.float32)])
        [given] = self.session.get_inputs()
        try:
            [vectors] = self.session.run(None, {given.name: images})
        except _failures() as error:
            raise WeightsError(
                f"{self.spec.name!r} cannot take images of {self.spec.size} x {self.spec.size} "
                f"pixels, {len(images)} at once ({_reason(error)}); choose another size."
            ) from None
        return np.asarray(vectors)[:n].astype(np.float32, copy=False)


def open_onnx(name: Name) -> Encoder:
    """`onnx:PATH.onnx?size=S&mean=M&std=S`: RGB images `(b, 3, S, S)` to vectors `(b, d)`.

    Without a size, that of the file; mean 0 and std 1 unless given, so that it sees 0 to 1.
    """
    options = name.resolve(SHAPE_OPTIONS)
    path = Path(name.argument)
    if not path.is_file():
        raise WeightsError(f"There is no ONNX file at {path}; give the path of one.")
    weights = _digest(path)
    session = _session(path)
    batch, side = _input(path, session)
    defaults: dict[str, Any] = {"mean": (0.0,) * 3, "std": (1.0,) * 3, "size": side, "resize": None}
    if side is None:
        defaults["refused"] = "the file takes images of any size"
    shape = input_shape(name, options, defaults)
    if side is not None and shape["size"] != side:
        raise UnknownNameError(
            f"{name.text!r}: size is {shape['size']}; the file takes {side} x {side} pixels only."
        )
    spec = EncoderSpec(
        name=portable(name, path), arch="onnx", dim=0, weights=weights, pool="network", **shape
    )
    return _tried(OnnxNetwork(spec, session, batch), path)


def _tried(network: OnnxNetwork, path: Path) -> OnnxNetwork:
    """The encoder with the dimension that one image gives."""
    import torch

    size = network.spec.size
    found = network(torch.zeros(1, 3, size, size, dtype=torch.uint8))
    if found.ndim != 2 or len(found) != 1:
        raise WeightsError(
            f"{path} gives {tuple(found.shape)} for one image; expected a vector: (1, d)."
        )
    network = replace(network, spec=replace(network.spec, dim=found.shape[1]))
    return network if network.batch or _takes_two(network) else replace(network, batch=1)


def _takes_two(network: OnnxNetwork) -> bool:
    """Whether a file that says it takes any number of images does: some are made for one."""
    import torch

    size = network.spec.size
    try:
        found = network(torch.zeros(2, 3, size, size, dtype=torch.uint8))
    except WeightsError:
        return False
    return tuple(found.shape) == (2, network.spec.dim)


def _library() -> Any:
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise UnknownNameError(
            f"onnx: files need the package onnxruntime ({error}); pip install 'oodml[onnx]'."
        ) from None
    return onnxruntime


def _failures() -> tuple[type[Exception], ...]:
    """What onnxruntime raises."""
    state = _library().capi.onnxruntime_pybind11_state
    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented")
    more = ("NoSuchFile", "RuntimeException", "NoModel", "EPFail")
    return (*(getattr(state, name) for name in (*names, *more)), ValueError, RuntimeError)


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(". ")[:200]


def _session(path: Path) -> Any:
    import torch

    library = _library()
    options = library.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # as everything else here
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Waiting threads sleep: others read images meanwhile.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return library.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except _failures() as error:
        raise WeightsError(
            f"{path} cannot be read as an ONNX network ({_reason(error)})."
        ) from None


def _input(path: Path, session: Any) -> tuple[int | None, int | None]:
    """The batch size and the image size that a file insists on; None where it takes any."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise WeightsError(
            f"{path} has {len(inputs)} inputs and {len(outputs)} outputs; expected one of each, "
            "images and their vectors."
        )
    [given] = inputs
    if given.type != "tensor(float)":
        raise WeightsError(f"{path} takes a {given.type}; expected float32, a tensor(float).")
    sides = [side if isinstance(side, int) else None for side in given.shape]
    if len(sides) != 4 or sides[1] not in (3, None) or (sides[2] != sides[3]):
        raise WeightsError(
            f"{path} takes {tuple(given.shape)}; expected square RGB images, (batch, 3, S, S)."
        )
    return sides[0], sides[2]


# The bytes of the weights ------------------------------------------------------------------------


def _digest(path: Path) -> str:
    """The sha256 of the file and, where it keeps weights in other files, of these too.

    They must lie in the folder of the file or below it. Raises `WeightsError`.
    """
    own = file_digest(path)
    folder = path.resolve().parent
    others: dict[str, str] = {}
    for location in sorted(set(_locations(path))):
        other = (folder / location).resolve()
        if not other.is_relative_to(folder):
            raise WeightsError(
                f"{path} keeps weights in {location!r}, outside its folder; put them beside it."
            )
        if not other.is_file():
            raise WeightsError(f"{path} keeps weights in {location!r}, which is not there.")
        others[location] = file_digest(other)
    return digest([own, others]) if others else own


def _locations(path: Path) -> Iterator[str]:
    """The names of the other files, of every tensor in the file."""
    _library()
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read as an ONNX file ({error}).") from None
    for tensor in _tensors(model):
        yield from (entry.value for entry in tensor.external_data if entry.key == "location")


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor within a protobuf message, also in the graphs of loops and branches."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for part in [value] if isinstance(value, _message()) else value:
            if field.message_type.name == "TensorProto":
                yield part
            elif not isinstance(part, Mapping) and isinstance(part, _message()):
                yield from _tensors(part)


def _message() -> Any:
    from google.protobuf.message import Message

    return Message
