"""`RunSpec`: everything that a result depends on, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from oodml.errors import FormatError
from oodml.split import Part
from oodml.store import canonical_json, digest


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One run: a method, trained on one split's train side with one seed, scored on its test side.

    `features` is the digest of the vectors, `encoder` the identity of what made them, where that is
    known. `preset` is where the parameters come from, if not from the method; `plugin` the sha256
    of the plug-in file that the method is from, None for others; `training` the version of the
    loop, None where nothing is trained. Data and splits are here by their content, wherever they
    are from. It holds no path and no host. The metrics are not part of it: a run is a training, and
    what is measured on it can be added. Fields that are None are not part of the digest, so that a
    later version can add one and keep every earlier result; `swapped` is True or None.
    """

    content_fingerprint: str
    sequence: str
    rank: int
    features: str
    encoder: str | None
    method: str
    method_version: int
    protocol: str
    selection: str
    metric_version: int
    precision: str = "float32"
    seed: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    budget: Mapping[str, Any] = field(default_factory=dict)
    adapter: str | None = None
    shots: int | None = None
    control: int | None = None
    plugin: str | None = None
    preset: str | None = None
    training: int | None = None
    swapped: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "swapped", self.swapped or None)

    @property
    def part(self) -> Part:
        """What of the sequence is trained and tested on."""
        return Part(self.rank, self.control, bool(self.swapped))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> RunSpec:
        known = {entry.name for entry in fields(cls)}
        try:
            return cls(**{key: value for key, value in record.items() if key in known})
        except TypeError as error:
            raise FormatError(f"This is no run spec: {error}.") from None

    def digest(self) -> str:
        return digest({key: value for key, value in self.to_json().items() if value is not None})

    def label(self) -> str:
        """A short text for people: method, split, control, swapped, seed."""
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.method_label()}, split {self.part}{seed}"

    def method_label(self, implied: str | None = None) -> str:
        """The method, its preset, and those of its parameters that are not the defaults.

        The preset that the protocol implies is not said.
        """
        from oodml.methods import METHODS, base_of, defaults_of

        known = base_of(self.method) in METHODS
        defaults = defaults_of(self.method, self.preset) if known else {}
        changed = [
            f"{key}={value if isinstance(value, str) else canonical_json(value)}"
            for key, value in sorted(self.parameters.items())
            if defaults.get(key) != value
        ]
        known_preset = self.preset in (None, implied)
        name = self.method if known_preset else f"{self.method}@{self.preset}"
        return name + ("?" + "&".join(changed) if changed else "")
