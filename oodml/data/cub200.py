"""CUB-200-2011: birds."""

from __future__ import annotations

import re
from pathlib import Path

from oodml.data.dataset import Dataset
from oodml.data.folder import load_folder
from oodml.data.layouts import (
    Listed,
    find_layout,
    has_class_folders,
    make_dataset,
    read_table,
    require_images,
)
from oodml.data.places import found_in, require_counts, wrong_layout

CLASS = re.compile(r"\d{3}\.\S+")
_TRAIN = 100  # classes 001 to 100 are the published train half, the others the test half
_EXPECTED = (
    "CUB_200_2011/images/NNN.Name/*.jpg and CUB_200_2011/images.txt, or class folders NNN.Name"
)


def load_cub200(root: Path, *, complete: bool = True) -> Dataset:
    """The images of `images.txt`; without that file, those in the class folders.

    Classes are called as their folders ("001.Black_footed_Albatross"), ids are paths below
    `images`.
    """
    base = find_layout(root, "images")
    images = base / "images" if base else root
    if not has_class_folders(images, CLASS):
        raise wrong_layout("cub200", root, _EXPECTED, found_in(images, CLASS))
    listing = images.parent / "images.txt"
    if listing.is_file():
        rows = read_table(listing, ("image_id", "image_name"), header=False)
        listed = [Listed(path, path.split("/")[0]) for _, path in rows]
        listed = require_images("cub200", images, listed, complete=complete)
    else:
        listed = [Listed(path, path.split("/")[0]) for path in load_folder(images).ids]
    data = make_dataset("cub200", images, listed, lambda label: int(label[:3]) <= _TRAIN)
    return require_counts(data, root, complete=complete)
