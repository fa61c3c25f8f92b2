"""Data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from oodml.data.cars196 import load_cars196
from oodml.data.cub200 import load_cub200
from oodml.data.dataset import Dataset, Files, Pixels, Vectors
from oodml.data.digits import load_digits
from oodml.data.folder import load_folder
from oodml.data.glyphs import load_glyphs
from oodml.data.inshop import load_inshop
from oodml.data.places import root_of
from oodml.data.sop import load_sop
from oodml.errors import UnknownNameError
from oodml.registry import Name, Registry

__all__ = ["DATASETS", "Dataset", "Files", "Pixels", "Vectors", "load_data"]


def load_data(name: str) -> Dataset:
    """The data set of a name: `glyphs?copies=4`, `folder:PATH?name=X`, `cub200:PATH`, `cub200`."""
    parsed = Name.parse(name)
    if parsed.key not in DATASETS and Path(name).is_dir():
        raise UnknownNameError(f"{name!r} is a folder; write folder:{name} for the images in it.")
    return DATASETS[parsed.key](parsed)


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
        "cub200": _on_disk(load_cub200),
        "digits": _digits,
        "folder": _folder,
        "glyphs": _glyphs,
        "inshop": _on_disk(load_inshop),
        "sop": _on_disk(load_sop),
    },
)
