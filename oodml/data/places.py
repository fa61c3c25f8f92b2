"""Where a named data set lies, and whether all of it is there."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from oodml.data.dataset import Dataset
from oodml.data.facts import FACTS
from oodml.errors import DataError
from oodml.registry import Name
from oodml.store import home

_SHOWN = 5


def default_root(key: str) -> Path:
    """Where `oodml data fetch` puts a data set: `OODML_HOME/datasets/<name>`."""
    return home() / "datasets" / key


def root_of(name: Name) -> Path:
    """The folder of `cub200:PATH`; without a path, the one that `oodml data fetch` fills."""
    root = Path(name.argument) if name.argument else default_root(name.key)
    root = root.expanduser().absolute()  # the data set outlives a change of the working folder
    if root.is_dir():
        return root
    what = "is not a folder" if root.exists() else "does not exist"
    raise DataError(
        f"{root} {what}; expected the folder of {FACTS[name.key].title}: give it as "
        f"{name.key}:PATH, or see oodml data fetch {name.key}."
    )


def find_place(root: Path, fits: Callable[[Path], bool]) -> Path | None:
    """The folder that holds a published layout: `root` itself, or the first one in it that does."""
    inside = (root / name for name in contents(root))
    places = [root, *(place for place in inside if place.is_dir())]
    return next((place for place in places if fits(place)), None)


def found_in(root: Path, usual: re.Pattern[str] | None = None) -> str:
    """What to say of a folder that has something else: the first of its contents.

    What is called as it should be comes last.
    """
    names = sorted(contents(root), key=lambda name: bool(usual and usual.fullmatch(name)))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more if names else "an empty folder"


def contents(root: Path) -> list[str]:
    """The names in a folder in order, without the hidden ones."""
    try:
        return sorted(name for name in os.listdir(root) if not name.startswith("."))  # noqa: PTH208
    except OSError as error:
        raise DataError(
            f"{root} cannot be read ({error.strerror}); make it readable or name another folder."
        ) from None


def wrong_layout(key: str, root: Path, expected: str, found: str) -> DataError:
    """What to say of a folder that holds something else."""
    return DataError(f"{root} is no {FACTS[key].title}: expected {expected}; found {found}.")


def require_counts(data: Dataset, root: Path, *, complete: bool) -> Dataset:
    """The data set as it is, if it has as many classes and images as were published.

    With `complete=False` (`cub200:PATH?complete=false`) a part of it will do.
    """
    facts = FACTS[data.name]
    found, published = (len(data.classes), len(data)), (facts.classes, facts.images)
    if complete and found != published:
        raise DataError(
            f"{root} holds {found[0]:,} classes and {found[1]:,} images; expected the "
            f"{published[0]:,} and {published[1]:,} of {facts.title}: add what is missing, or "
            f"write {data.name}:PATH?complete=false to use what is there."
        )
    return data
