"""Presets: settings of methods by name, as in `margin@paper-cub200`.

Those of ooDML's study are here; the tuned ones are files in the folder `presets`, which
`scripts/tune.py` wrote, each with all of its trials.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from oodml.errors import UnknownNameError
from oodml.methods.method import Budget
from oodml.registry import nearest

TUNED = Path(__file__).parent / "presets"


@dataclass(frozen=True, slots=True)
class Preset:
    """Parameters of all methods, and of single ones; and the budget that they are for, if any."""

    name: str
    common: Mapping[str, Any] = field(default_factory=dict)
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    budget: Budget | None = None

    def parameters(self, method: str) -> dict[str, Any]:
        """Those of a method: its own over those of all; of `margin+sec` over those of `margin`."""
        base = method.partition("+")[0]
        return {**self.common, **self.methods.get(base, {}), **self.methods.get(method, {})}


_PROXYANCHOR = {"alpha": 32.0, "delta": 0.1, "proxy_lr": 2e-2, "form": "ooDML"}


def _paper(name: str, epochs: int, rmargin: Mapping[str, float], **others: Any) -> Preset:
    """The settings of ooDML's zero-shot study (Milbich et al., NeurIPS 2021) on one data set."""
    return Preset(
        f"paper-{name}",
        {"dim": 512, "lr": 1e-5, "weight_decay": 4e-4},
        {
            "margin": {"beta": 1.2, "beta_lr": 5e-4, "margin": 0.2},
            "rmargin": {**rmargin, "beta_lr": 5e-4, "margin": 0.2},
            "multisimilarity": {"form": "ooDML"},
            "arcface": {"margin": 0.5, "scale": 16.0, "proxy_lr": 5e-4},
            "proxyanchor": _PROXYANCHOR,
            **others,
        },
        Budget(batch=112, per_class=2, epochs=epochs, replacement=True),
    )


_PUBLISHED = {
    preset.name: preset
    for preset in (
        Preset("full", {"lr": 1e-5, "weight_decay": 4e-4}, {}, Budget(2000, 112, 4, check=100)),
        _paper("cub200", 200, {"beta": 0.6, "rho": 0.4}),
        _paper("cars196", 200, {"beta": 0.6, "rho": 0.35}),
        _paper("sop", 150, {"beta": 0.9, "rho": 0.15}, proxyanchor={**_PROXYANCHOR, "warmup": 1}),
    )
}


def preset_names() -> list[str]:
    """All presets."""
    return sorted({*_PUBLISHED, *(path.stem for path in TUNED.glob("*.json"))})


@cache
def find_preset(name: str) -> Preset:
    """The preset of a name; raises `UnknownNameError`."""
    if name in _PUBLISHED:
        return _PUBLISHED[name]
    if name not in preset_names():
        raise UnknownNameError(
            f"{name!r} is no preset; nearest: {', '.join(nearest(name, preset_names()))}."
        )
    record = json.loads((TUNED / f"{name}.json").read_text())
    return Preset(name, record["common"], record["chosen"])


def preset_of(protocol: str, dataset: str) -> str | None:
    """What a protocol implies where nothing is named: `paper` needs to know the data set."""
    if protocol == "paper":
        if f"paper-{dataset}" not in _PUBLISHED:
            known = ", ".join(name[6:] for name in _PUBLISHED if name.startswith("paper-"))
            raise UnknownNameError(
                f"Protocol paper has settings for {known}, not for {dataset!r}; use --protocol "
                "full, or give the data its name (folder:PATH?name=cub200)."
            )
        return f"paper-{dataset}"
    return "full" if protocol == "full" else None


def budget_of(protocol: str, dataset: str = "cub200") -> Budget:
    """The budget of a protocol where none is given."""
    name = preset_of(protocol, dataset)
    return (find_preset(name).budget if name else None) or Budget()
