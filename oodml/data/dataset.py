"""`Dataset`: labelled images or vectors, frozen."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oodml.data.hashes import file_hashes
from oodml.errors import DataError
from oodml.store import array_digest, digest, frozen

Halves = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Files:
    """Images on disk; an id is the path below `root`."""

    root: Path

    def content_hashes(self, ids: tuple[str, ...]) -> list[str]:
        return file_hashes(self.root, ids)


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """Images in memory: `(n, h, w)` grey or `(n, h, w, 3)` colour, uint8.

    `provenance`, where given, is what the images were made from: it stands for their content.
    """

    images: np.ndarray[Any, Any]
    provenance: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        grey_or_colour = self.images.ndim == 3 or self.images.shape[3:] == (3,)
        if self.images.dtype != np.uint8 or not grey_or_colour:
            raise DataError(
                f"Images of type {self.images.dtype} and shape {self.images.shape}; "
                "expected uint8, (n, h, w) or (n, h, w, 3)."
            )
        object.__setattr__(self, "images", frozen(self.images))

    def __len__(self) -> int:
        return len(self.images)

    def content_hashes(self, ids: tuple[str, ...]) -> list[str]:  # noqa: ARG002
        return [digest(self.provenance)] if self.provenance else [array_digest(self.images)]


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """Feature vectors in place of images: `(n, d)` float32."""

    vectors: np.ndarray[Any, Any]

    def __post_init__(self) -> None:
        if self.vectors.dtype != np.float32 or self.vectors.ndim != 2:
            raise DataError(
                f"Vectors of type {self.vectors.dtype} and shape {self.vectors.shape}; "
                "expected float32, (n, d)."
            )
        object.__setattr__(self, "vectors", frozen(self.vectors))

    def __len__(self) -> int:
        return len(self.vectors)

    def content_hashes(self, ids: tuple[str, ...]) -> list[str]:  # noqa: ARG002
        return [array_digest(self.vectors)]


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Labelled images.

    `labels` (n,) index `classes`; `ids` are unique, and stay the same wherever the data lies;
    `groups` is the superclass of each class, `roles` the part each image plays where queries and
    gallery are apart, `default` the published train and test classes, `terms` what the data may be
    used for, in a sentence.
    """

    name: str
    classes: tuple[str, ...]
    labels: np.ndarray[Any, Any]
    ids: tuple[str, ...]
    source: Files | Pixels | Vectors
    groups: tuple[str, ...] | None = None
    roles: tuple[str, ...] | None = None
    default: Halves | None = None
    terms: str | None = None

    def __post_init__(self) -> None:
        where = f"data set {self.name!r}"
        labels = np.asarray(self.labels)
        if labels.size and labels.dtype.kind not in "iu":
            raise DataError(f"{where}: labels of type {labels.dtype}; expected indices of classes.")
        object.__setattr__(self, "labels", frozen(labels.astype(np.int64)))
        check_labels(where, self.classes, self.labels, self.ids)
        self._check_parts(where)

    def _check_parts(self, where: str) -> None:
        if not isinstance(self.source, Files) and len(self.source) != len(self.ids):
            raise DataError(f"{where} has {len(self.source)} images; expected {len(self.ids)}.")
        check_roles(where, self.ids, self.roles)
        check_classes(where, self.classes, self.groups, self.default)

    def __len__(self) -> int:
        return len(self.ids)

    def class_fingerprint(self) -> str:
        """What must agree to *use* a split: the class names."""
        return class_fingerprint(self.classes)

    def content_fingerprint(self) -> str:
        """What must agree to be *ranked* together: class names, ids, labels and contents."""
        labels = hashlib.sha256(self.labels.astype("<i8").tobytes()).hexdigest()
        contents = self.source.content_hashes(self.ids)
        return digest([list(self.classes), list(self.ids), labels, contents])


def class_fingerprint(classes: tuple[str, ...]) -> str:
    """The digest of the class names, in name order."""
    return digest(sorted(classes))


def check_labels(
    where: str, classes: tuple[str, ...], labels: np.ndarray[Any, Any], ids: tuple[str, ...]
) -> None:
    """Raise `DataError` unless names, labels and ids pair up and every class has an image."""
    if len(labels) != len(ids) or labels.ndim != 1:
        raise DataError(
            f"{where}: {len(ids)} ids but labels of shape {labels.shape}; expected one each."
        )
    if len(labels) == 0:
        raise DataError(f"{where} is empty; expected labelled images.")
    for what, names in (("class", classes), ("id", ids)):
        if len(set(names)) < len(names):
            twice = next(name for name, times in Counter(names).items() if times > 1)
            raise DataError(f"{where}: the {what} {twice!r} is there twice; expected unique names.")
    counts = np.bincount(labels[labels >= 0], minlength=len(classes))
    if labels.min() < 0 or len(counts) > len(classes):
        raise DataError(
            f"{where}: labels from {labels.min()} to {labels.max()}; "
            f"expected 0 to {len(classes) - 1}."
        )
    if (counts == 0).any():
        empty = classes[int(np.argmin(counts))]
        raise DataError(f"{where}: class {empty!r} has no image; remove the class or add images.")


def check_roles(where: str, ids: tuple[str, ...], roles: tuple[str, ...] | None) -> None:
    """Raise `DataError` unless there are no roles or every image has one of the three."""
    if roles is not None and len(roles) != len(ids):
        raise DataError(f"{where} has {len(roles)} roles; expected {len(ids)}.")
    if unknown := set(roles or ()) - {"train", "query", "gallery"}:
        raise DataError(f"{where} has the role {min(unknown)!r}; expected train, query or gallery.")


def check_classes(
    where: str, classes: tuple[str, ...], groups: tuple[str, ...] | None, default: Halves | None
) -> None:
    """Raise `DataError` unless every class has a group and the published halves are apart."""
    if groups is not None and len(groups) != len(classes):
        raise DataError(f"{where} has {len(groups)} groups; expected {len(classes)}.")
    train, test = default or ((), ())
    if wrong := (set(train) & set(test)) | ({*train, *test} - {*classes}):
        raise DataError(
            f"{where}: class {min(wrong)!r} of the published split is unknown or on both sides."
        )
