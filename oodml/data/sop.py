"""Stanford Online Products: 12 kinds of things that were for sale."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from oodml.data.dataset import Dataset
from oodml.data.layouts import (
    Listed,
    find_layout,
    make_dataset,
    read_table,
    require_apart,
    require_images,
    those_there,
)
from oodml.data.places import found_in, require_counts, wrong_layout
from oodml.errors import DataError

_COLUMNS = ("image_id", "class_id", "super_class_id", "path")
_EXPECTED = "Ebay_train.txt, Ebay_test.txt and folders such as bicycle_final with *.JPG"
Row = tuple[str, ...]


def load_sop(root: Path, *, complete: bool = True) -> Dataset:
    """The images of `Ebay_train.txt` and `Ebay_test.txt`, which are the published halves.

    A class is called by the number of its offer, with which its files begin ("111085122871"): the
    name that the official ooDML code has in its split files. Should two classes have the same
    number, their class ids are added ("111085122871-00017"). Its group is the kind of product
    ("bicycle"). Ids are paths as they are listed ("bicycle_final/111085122871_0.JPG").
    """
    base = find_layout(root, "Ebay_train.txt", "Ebay_test.txt")
    if base is None and (above := find_layout(root, "Info_Files/Ebay_train.txt")):
        base = above / "Info_Files"  # as the official ooDML code wants it
    if base is None or not (base / "Ebay_test.txt").is_file():
        raise wrong_layout("sop", root, _EXPECTED, found_in(root))
    train, test = (read_table(base / f"Ebay_{half}.txt", _COLUMNS) for half in ("train", "test"))
    require_apart(base / "Ebay_test.txt", {row[1] for row in train}, {row[1] for row in test})
    names = _names([*train, *test])
    listed = [Listed(path, names[number]) for _, number, _, path in (*train, *test)]
    places = (base, base.parent, base / "images", base.parent / "images")
    images = max(places, key=lambda place: len(those_there(place, listed)))
    listed = require_images("sop", images, listed, complete=complete)
    seen = {names[row[1]] for row in train}
    groups = _groups(base, [*train, *test], names)
    data = make_dataset("sop", images, listed, seen.__contains__, groups=groups)
    return require_counts(data, root, complete=complete)


def _names(rows: list[Row]) -> dict[str, str]:
    """The name of each class id."""
    offers: dict[str, str] = {}
    for _, number, _, path in rows:
        offers.setdefault(number, path.rpartition("/")[2].partition("_")[0])
    times = Counter(offers.values())
    return {
        number: offer if times[offer] == 1 else f"{offer}-{number:0>5}"
        for number, offer in offers.items()
    }


def _groups(base: Path, rows: list[Row], names: dict[str, str]) -> dict[str, str]:
    """The superclass of each class, by the folder of its images; a class is in one only."""
    groups: dict[str, str] = {}
    for _, number, _, path in rows:
        group = path.partition("/")[0].removesuffix("_final")
        if groups.setdefault(names[number], group) != group:
            raise DataError(
                f"{base}: class {number} is listed in {groups[names[number]]} and in {group}; "
                "expected one superclass a class: download the lists again."
            )
    return groups
