"""Data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from oodml.data.dataset import Dataset, Files, Pixels, Vectors
from oodml.data.digits import load_digits
from oodml.data.facts import FACTS
from oodml.data.folder import load_folder
from oodml.data.glyphs import load_glyphs
from oodml.errors import UnknownNameError
from oodml.registry import Name, Registry

__all__ = ["DATASETS", "Dataset", "Files", "Pixels", "Vectors", "load_data"]


def load_data(name: str) -> Dataset:
    """The data set of a name: `glyphs`, `glyphs?copies=4`, `digits`, `folder:PATH?name=X`."""
    parsed = Name.parse(name)
    if parsed.key not in DATASETS and Path(name).is_dir():
        raise UnknownNameError(f"{name!r} is a folder; write folder:{name} for the images in it.")
    return _with_terms(DATASETS[parsed.key](parsed), parsed.key)


def _with_terms(data: Dataset, key: str) -> Dataset:
    """The data set with the terms of use that are known of its name, unless it has its own."""
    known = FACTS.get(key)
    return replace(data, terms=known.terms) if known and data.terms is None else data


def _digits(name: Name) -> Dataset:
    _refuse_argument(name)
    return load_digits(**name.resolve({}))


def _folder(name: Name) -> Dataset:
    params = name.resolve({"name": None})
    if not name.argument:
        raise UnknownNameError(f"{name.text!r} lacks the path; expected folder:PATH[?name=X].")
    return load_folder(Path(name.argument), **params)


def _glyphs(name: Name) -> Dataset:
    _refuse_argument(name)
    return load_glyphs(**name.resolve({"copies": 1, "seed": 0, "jitter": True}))


def _refuse_argument(name: Name) -> None:
    if name.argument:
        raise UnknownNameError(
            f"{name.text!r} has the argument {name.argument!r}; {name.key} takes none: "
            f"write {name.key}[?PARAM=VALUE&...]."
        )


DATASETS: Registry[Callable[[Name], Dataset]] = Registry(
    "datasets",
    {
        "digits": _digits,
        "folder": _folder,
        "glyphs": _glyphs,
    },
)
