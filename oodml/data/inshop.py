"""In-Shop Clothes Retrieval of DeepFashion: queries and gallery are apart."""

from __future__ import annotations

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

_COLUMNS = ("image_name", "item_id", "evaluation_status")
_LISTS = (  # the folder of the images is that above Eval, so that the bare name is looked for last
    "Eval/list_eval_partition.txt",
    "Anno/list_eval_partition.txt",
    "Eval/train_test_partition.txt",
    "list_eval_partition.txt",
)
_BELOW = ("", "Img", "img", "Img/img")  # where the folder `img` of the list may lie
_EXPECTED = "Eval/list_eval_partition.txt and img/WOMEN/... (or Img/img/WOMEN/...)"


def load_inshop(root: Path, *, complete: bool = True) -> Dataset:
    """The images of `list_eval_partition.txt`, each with its role: train, query or gallery.

    Items to train on and items to test on are the published halves. Classes are called by the ids
    of items ("id_00000002"), ids are paths as they are listed ("img/WOMEN/Dresses/...").
    """
    found = ((find_layout(root, name), name) for name in _LISTS)
    base, name = next(((base, name) for base, name in found if base), (None, ""))
    if base is None:
        raise wrong_layout("inshop", root, _EXPECTED, found_in(root))
    listed = [Listed(*row) for row in read_table(base / name, _COLUMNS)]
    if unknown := {image.role for image in listed} - {"train", "query", "gallery"}:
        raise DataError(
            f"{base / name} has the evaluation_status {min(map(str, unknown))!r}; expected train, "
            "query or gallery."
        )
    train = {image.label for image in listed if image.role == "train"}
    test = {image.label for image in listed if image.role != "train"}
    require_apart(base / name, train, test)
    images = max((base / p for p in _BELOW), key=lambda place: len(those_there(place, listed)))
    listed = require_images("inshop", images, listed, complete=complete)
    data = make_dataset("inshop", images, listed, train.__contains__)
    return require_counts(data, root, complete=complete)
