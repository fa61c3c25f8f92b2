"""`EncoderSpec` and `Encoder`: what turns images into vectors, and what makes it the same one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

from oodml.errors import FormatError
from oodml.store import digest

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL.Image import Image

Triple = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """The facts of an encoder; the same `identity` gives the same vectors for the same image.

    `weights` is the sha256 of the weights' file, or another digest of them, None where there are
    none. An image is converted to `mode`; where `resize` is None both sides are brought to `size`,
    else the shorter one to `resize` and a centre square of `size` is cut out. `mean` and `std` are
    in units of 0..1.
    """

    name: str
    arch: str
    dim: int
    size: int
    weights: str | None = None
    resize: int | None = None
    mode: str = "RGB"
    mean: Triple = (0.0,)
    std: Triple = (1.0,)
    interpolation: str = "bilinear"
    pool: str = "none"
    precision: str = "float32"
    licence: str | None = None

    def __post_init__(self) -> None:
        for key in ("mean", "std"):  # lists and single numbers will do
            value: Any = getattr(self, key)
            value = tuple(value) if isinstance(value, list | tuple) else (value,)
            object.__setattr__(self, key, value)

    def identity(self) -> str:
        """The digest of all that changes the vectors: never a name or a place."""
        facts = {
            key: value for key, value in self.to_json().items() if key not in ("name", "licence")
        }
        return digest(facts)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any] | None) -> EncoderSpec | None:
        if record is None:
            return None
        known = {field.name for field in fields(cls)}
        if not isinstance(record, Mapping):
            raise FormatError(f"This is no encoder spec: {record!r} is no JSON object.")
        try:
            values = {key: value for key, value in record.items() if key in known}
            spec = cls(**{**values, "mean": tuple(record["mean"]), "std": tuple(record["std"])})
        except (KeyError, TypeError) as error:
            raise FormatError(f"This is no encoder spec: {error}.") from None
        if not isinstance(spec.name, str):
            raise FormatError(f"This is no encoder spec: name is {spec.name!r}; expected text.")
        return spec


class Encoder(Protocol):
    """Anything with a spec, a transform and a call; there is nothing to inherit from."""

    @property
    def spec(self) -> EncoderSpec: ...

    def transform(self, image: Image) -> np.ndarray[Any, Any]:
        """One image as a `(channels, size, size)` uint8 array."""

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """`(b, channels, size, size)` uint8 as `(b, dim)` float32 vectors, un-normalised."""
