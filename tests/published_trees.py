"""Miniatures of the published layouts: the same folders and lists, with fewer images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from oodml.data import Dataset, load_data
from oodml.errors import OodmlError

BIRDS = ("001.Black_footed_Albatross", "100.Brown_Pelican", "101.White_Pelican", "200.Yellowthroat")
CARS = (  # in the order of the devkit, which is not that of names
    "AM General Hummer SUV 2000",
    "Acura TSX Sedan 2012",
    "Acura Integra Type R 2001",
    "Eagle Talon Hatchback 1998",
    "FIAT 500 Abarth 2012",
    "Ram C/V Cargo Van Minivan 2012",
    "smart fortwo Convertible 2012",
)
PRODUCTS = (  # offer, kind
    ("111085122871", "bicycle"),
    ("131150012171", "bicycle"),
    ("110714287671", "chair"),
    ("281063011331", "bicycle"),
    ("400520812161", "stapler"),
)
ITEMS = (  # item, folder, roles of its images
    ("id_00000001", "WOMEN/Dresses", ("train", "train", "train")),
    ("id_00000002", "MEN/Denim", ("train", "train")),
    ("id_00000003", "WOMEN/Dresses", ("query", "gallery", "gallery")),
    ("id_00000004", "WOMEN/Tees_Tanks", ("query", "query", "gallery")),
    ("id_00000005", "MEN/Denim", ("gallery", "query", "gallery", "query")),
    ("id_00000006", "MEN/Denim", ("query",)),
    ("id_00000007", "WOMEN/Dresses", ("gallery", "gallery")),
)


def draw(path: Path, number: int) -> None:
    """An image of its own, in the colour of its number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "PNG" if path.suffix == ".png" else "JPEG")


def write_lines(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")


def class_folders(root: Path, names: Iterable[str], *, each: int = 2, suffix: str = "jpg") -> None:
    for at, name in enumerate(names):
        for number in range(each):
            draw(root / name / f"{number:05}.{suffix}", 100 * at + number)


def write_birds(root: Path, *, listing: bool = True) -> None:
    """CUB_200_2011: `images`, and `images.txt` beside it."""
    class_folders(root / "images", BIRDS)
    paths = [f"{name}/{number:05}.jpg" for name in BIRDS for number in range(2)]
    if listing:
        write_lines(root / "images.txt", [f"{at} {path}" for at, path in enumerate(paths, 1)])
        write_lines(root / "classes.txt", [f"{int(name[:3])} {name}" for name in BIRDS])


def _annotations(field: str, files: Sequence[str], classes: Sequence[int]) -> Any:
    rows = np.zeros((1, len(files)), [("bbox_x1", "O"), ("class", "O"), (field, "O")])
    for at, (file, label) in enumerate(zip(files, classes, strict=True)):
        rows[0, at] = (1, label, file)
    return rows


def write_mat(path: Path, **variables: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    names = variables.pop("names", None)
    if names is not None:
        variables["class_names"] = np.array([names], dtype=object)
    savemat(path, variables)


def write_car_ims(root: Path) -> None:
    """The later release: one folder, one file of annotations."""
    labels = [1 + at // 2 for at in range(2 * len(CARS))]
    files = [f"car_ims/{at:06}.jpg" for at in range(1, len(labels) + 1)]
    for at, file in enumerate(files):
        draw(root / file, at)
    annotations = _annotations("relative_im_path", files, labels)
    write_mat(root / "cars_annos.mat", names=CARS, annotations=annotations)


def write_cars_halves(root: Path, *, labelled: str = "cars_test_annos_withlabels.mat") -> None:
    """The first release: two folders whose files have the same names, and the devkit."""
    write_mat(root / "devkit" / "cars_meta.mat", names=CARS)
    labels = list(range(1, len(CARS) + 1)) * 2
    files = [f"{at:05}.jpg" for at in range(1, len(labels) + 1)]
    for part, place in (("train", "devkit/cars_train_annos.mat"), ("test", labelled)):
        for at, file in enumerate(files):
            draw(root / f"cars_{part}" / file, at)
        write_mat(root / place, annotations=_annotations("fname", files, labels))


def write_products(root: Path, products: Sequence[tuple[str, str]] = PRODUCTS) -> None:
    """Stanford Online Products: the first three are to train on."""
    rows: dict[str, list[str]] = {"train": [], "test": []}
    kinds = sorted({kind for _, kind in products})
    at = 0
    for number, (offer, kind) in enumerate(products, start=1):
        for index in range(2):
            at += 1
            path = f"{kind}_final/{offer}_{index}.JPG"
            draw(root / path, at)
            half = "train" if number <= 3 else "test"
            rows[half].append(f"{at} {number} {kinds.index(kind) + 1} {path}")
    for half, lines in rows.items():
        write_lines(root / f"Ebay_{half}.txt", ["image_id class_id super_class_id path", *lines])


def clothes() -> dict[str, tuple[str, str]]:
    """Item and role of each image of the miniature."""
    return {
        f"img/{folder}/{item}/0{at}_1_front.jpg": (item, role)
        for item, folder, roles in ITEMS
        for at, role in enumerate(roles, start=1)
    }


def write_clothes(
    root: Path,
    *,
    below: str = "",
    file: str = "Eval/list_eval_partition.txt",
    changes: Mapping[str, tuple[str, str]] | None = None,
) -> None:
    """In-Shop Clothes Retrieval, with the columns aligned as they are in the published file."""
    images = {**clothes(), **(changes or {})}
    for at, path in enumerate(images):
        draw(root / below / path, at)
    rows = [f"{path:<60}{item:<15}{role}" for path, (item, role) in images.items()]
    header = "image_name item_id evaluation_status"
    write_lines(root / file, [str(len(rows)), header, *rows])


# Loading them -----------------------------------------------------------------------------------


def part(key: str, root: Path) -> Dataset:
    return load_data(f"{key}:{root}?complete=false")


def wrong(key: str, root: Path, *, complete: bool = False) -> str:
    with pytest.raises(OodmlError) as caught:
        load_data(f"{key}:{root}" + ("" if complete else "?complete=false"))
    return str(caught.value)
