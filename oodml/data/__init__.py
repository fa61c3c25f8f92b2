"""Data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from oodml.data.cars196 import load_cars196
from oodml.data.cub200 import load_cub200
from oodml.data.dataset import Dataset, Files, Pixels, Vectors
from oodml.data.digits import load_digits
from oodml.data.facts import FACTS
from oodml.data.folder import load_folder
from oodml.data.glyphs import load_glyphs
from oodml.data.inshop import load_inshop
from oodml.data.isolet import load_isolet
from oodml.data.mnist import load_mnist
from oodml.data.omniglot import load_omniglot
from oodml.data.places import root_of
from oodml.data.sop import load_sop
from oodml.data.table import load_csv
from oodml.data.tiny_imagenet import load_tiny_imagenet
from oodml.errors import DataError, UnknownNameError
from oodml.registry import Name, Registry

__all__ = ["DATASETS", "Dataset", "Files", "Pixels", "Vectors", "load_data"]


def load_data(name: str) -> Dataset:
    """The data set of a name: `glyphs?copies=4`, `folder:PATH`, `csv:PATH`, `cub200:PATH`."""
    parsed = Name.parse(name)
    if parsed.key not in DATASETS and Path(name).is_dir():
        raise UnknownNameError(f"{name!r} is a folder; write folder:{name} for the images in it.")
    data = DATASETS[parsed.key](parsed)
    if not isinstance(data, Dataset):
        raise DataError(
            f"The data set {parsed.key!r} of a plug-in gave {type(data).__name__}; expected a "
            "function of a Name that gives a Dataset."
        )
    return _with_terms(data, parsed.key)


def _with_terms(data: Dataset, key: str) -> Dataset:
    """The data set with the terms of use that are known of its name, unless it has its own."""
    known = FACTS.get(key)
    return replace(data, terms=known.terms) if known and data.terms is None else data


def _csv(name: Name) -> Dataset:
    params = name.resolve({"name": None, "root": None})
    if not name.argument:
        raise UnknownNameError(f"{name.text!r} lacks the path; expected csv:PATH[?root=DIR].")
    return load_csv(Path(name.argument), **params)


def _digits(name: Name) -> Dataset:
    _refuse_argument(name)
    return load_digits(**name.resolve({}))


def _folder(name: Name) -> Dataset:
    params = name.resolve({"name": None, "nested": False})
    if not name.argument:
        raise UnknownNameError(f"{name.text!r} lacks the path; expected folder:PATH[?name=X].")
    return load_folder(Path(name.argument), **params)


def _glyphs(name: Name) -> Dataset:
    _refuse_argument(name)
    return load_glyphs(**name.resolve({"copies": 1, "seed": 0, "jitter": True}))


def _on_disk(load: Callable[..., Dataset]) -> Callable[[Name], Dataset]:
    """A published data set in a folder: KEY[:PATH][?complete=false]."""

    def loader(name: Name) -> Dataset:
        params = name.resolve({"complete": True})
        return load(root_of(name), **params)

    return loader


def _refuse_argument(name: Name) -> None:
    if name.argument:
        raise UnknownNameError(
            f"{name.text!r} has the argument {name.argument!r}; {name.key} takes none: "
            f"write {name.key}[?PARAM=VALUE&...]."
        )


DATASETS: Registry[Callable[[Name], Dataset]] = Registry(
    "datasets",
    {
        "cars196": _on_disk(load_cars196),
        "csv": _csv,
        "cub200": _on_disk(load_cub200),
        "digits": _digits,
        "folder": _folder,
        "glyphs": _glyphs,
        "inshop": _on_disk(load_inshop),
        "isolet": _on_disk(load_isolet),
        "mnist": _on_disk(load_mnist),
        "omniglot": _on_disk(load_omniglot),
        "sop": _on_disk(load_sop),
        "tiny_imagenet": _on_disk(load_tiny_imagenet),
    },
)
