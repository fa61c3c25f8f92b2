"""`EmbeddingSet`: labelled vectors, and the file that carries them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oodml.data.dataset import (
    Halves,
    check_classes,
    check_labels,
    check_roles,
    class_fingerprint,
)
from oodml.embed.cache import Cache
from oodml.embed.spec import EncoderSpec
from oodml.errors import DataError, FormatError
from oodml.store import array_digest, digest, frozen, read_npz, write_npz

Array = np.ndarray[Any, Any]
_LARGE = 1 << 24  # bytes
_FACTS = "facts.npz"  # of a cache folder: all but the vectors


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingSet:
    """Vectors `(n, d)` float32 with their labels `(n,)`, as indices into `classes`.

    `content_fingerprint` is that of the images; where they are unknown, that of class names, ids
    and labels. `source` is a short name of what made the vectors, for people to read. `roles` is
    the part that each image plays (train, query, gallery) where queries and gallery are apart;
    `terms` is what the data may be used for.
    """

    dataset: str
    classes: tuple[str, ...]
    labels: Array
    ids: tuple[str, ...]
    vectors: Array
    content_fingerprint: str
    encoder: EncoderSpec | None = None
    groups: tuple[str, ...] | None = None
    default: Halves | None = None
    source: str = "embeddings"
    roles: tuple[str, ...] | None = None
    terms: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", frozen(np.asarray(self.labels, dtype=np.int64)))
        object.__setattr__(self, "vectors", frozen(np.asanyarray(self.vectors)))
        where = f"embeddings of {self.dataset!r}"
        check_labels(where, self.classes, self.labels, self.ids)
        check_classes(where, self.classes, self.groups, self.default)
        check_roles(where, self.ids, self.roles)
        if self.vectors.shape[:1] != (len(self.labels),) or self.vectors.ndim != 2:
            raise DataError(
                f"{where}: vectors of shape {self.vectors.shape} for {len(self.labels)} labels; "
                "expected one row a label."
            )
        if self.vectors.shape[1] == 0:
            raise DataError(f"{where}: vectors of no dimension; expected (n, d), d from 1.")
        check_finite(where, self.vectors)

    def __len__(self) -> int:
        return len(self.labels)

    def class_fingerprint(self) -> str:
        return class_fingerprint(self.classes)

    def digest(self) -> str:
        """The digest of classes, labels, vectors and roles: what a result on them depends on.

        Without roles it does not know of them.
        """
        labels = array_digest(self.labels.astype("<i8"))
        facts = [list(self.classes), labels, array_digest(self.vectors)]
        return digest(facts if self.roles is None else [*facts, list(self.roles)])

    def of(self, classes: Iterable[str]) -> EmbeddingSet:
        """The images of some classes; the classes keep the order given."""
        chosen = tuple(classes)
        place = np.full(len(self.classes), -1)
        index = {name: i for i, name in enumerate(self.classes)}
        if missing := [name for name in chosen if name not in index]:
            raise DataError(
                f"{len(missing)} classes are not among the embeddings of {self.dataset!r}, such as "
                f"{missing[0]!r}; use the data set that the classes come from."
            )
        place[[index[name] for name in chosen]] = np.arange(len(chosen))
        rows = np.flatnonzero(place[self.labels] >= 0)
        groups = self.groups and tuple(self.groups[index[name]] for name in chosen)
        return EmbeddingSet(
            dataset=self.dataset,
            classes=chosen,
            labels=place[self.labels[rows]],
            ids=tuple(self.ids[row] for row in rows),
            vectors=self.vectors[rows],
            content_fingerprint=digest([self.content_fingerprint, list(chosen)]),
            encoder=self.encoder,
            groups=groups,
            source=self.source,
            roles=self.roles and tuple(self.roles[row] for row in rows),
            terms=self.terms,
        )


def check_finite(where: str, vectors: Array) -> None:
    """Raise `DataError` naming the rows that hold NaN or infinity."""
    step = max(1, (1 << 24) // max(1, vectors.shape[1]))
    bad = [
        start + np.flatnonzero(~np.isfinite(vectors[start : start + step]).all(axis=1))
        for start in range(0, len(vectors), step)
    ]
    rows = np.concatenate(bad) if bad else np.empty(0, int)
    if len(rows):
        shown = ", ".join(str(row) for row in rows[:5])
        raise DataError(
            f"{where}: {len(rows)} rows hold NaN or infinity (rows "
            f"{shown}{', ...' if len(rows) > 5 else ''}); "
            "remove them or embed these images again."
        )


# Files -------------------------------------------------------------------------------------------


def meta_of(embeddings: EmbeddingSet) -> dict[str, Any]:
    """The facts of an embedding file beside its arrays."""
    return {
        "format": "oodml.embeddings",
        "version": 1,
        "dataset": embeddings.dataset,
        "content_fingerprint": embeddings.content_fingerprint,
        "source": embeddings.source,
        "encoder": embeddings.encoder and embeddings.encoder.to_json(),
        "groups": embeddings.groups and list(embeddings.groups),
        "default": embeddings.default and [list(half) for half in embeddings.default],
        **({"terms": embeddings.terms} if embeddings.terms else {}),
    }


def write_embeddings(path: Path, embeddings: EmbeddingSet) -> None:
    """Write vectors, labels, classes, ids and meta (JSON) as an npz of exactly this name.

    Roles, where the images have some, are one more array. Ids that would take more than 16 MiB as
    text are bytes in UTF-8.
    """
    write_npz(path, {"vectors": np.asarray(embeddings.vectors), **_facts_of(embeddings)})


def write_facts(folder: Path, embeddings: EmbeddingSet) -> None:
    """Write what an embedding file holds beside the vectors into a cache folder.

    The folder can then be read like a file: as the last data set whose vectors it gave.
    """
    path, facts = folder / _FACTS, _facts_of(embeddings)
    if not path.exists():
        write_npz(path, facts)
    elif not _holds(path, facts):
        with suppress(FormatError):  # a cache may be read-only
            write_npz(path, facts)


def _holds(path: Path, arrays: Mapping[str, Array]) -> bool:
    """Whether these arrays are what a file holds."""
    try:
        found = read_npz(path)
    except FormatError:
        return False
    return found.keys() == arrays.keys() and all(
        found[name].dtype == array.dtype and np.array_equal(found[name], array)
        for name, array in arrays.items()
    )


def _facts_of(embeddings: EmbeddingSet) -> dict[str, Array]:
    meta = json.dumps(meta_of(embeddings), sort_keys=True, allow_nan=False)
    arrays = {
        "labels": embeddings.labels,
        "classes": np.array(embeddings.classes),
        "ids": _texts(embeddings.ids),
        "meta": np.array(meta),
    }
    if embeddings.roles is not None:
        arrays["roles"] = np.array(embeddings.roles)
    return arrays


def _texts(names: tuple[str, ...]) -> Array:
    """Strings as an array; as UTF-8 bytes where an array of text, 4 bytes a letter, is large."""
    if 4 * len(names) * max(map(len, names), default=0) > _LARGE:
        with suppress(UnicodeEncodeError):
            return np.array([name.encode() for name in names])
    return np.array(names)


def read_embeddings(path: Path) -> EmbeddingSet:
    """The embeddings of an npz file of any origin; only `vectors` and `labels` are required.

    Labels are ints or strings; ints index `classes` where these are given, else they are the names.
    `ids`, `roles` (train, query or gallery, one an image) and `meta` are optional too. The folder
    of a complete cache can be read too; its vectors stay on disk, mapped into memory.
    """
    arrays = _read_folder(path) if path.is_dir() else read_npz(path)
    if missing := {"vectors", "labels"} - arrays.keys():
        raise FormatError(
            f"{path} lacks {' and '.join(sorted(missing))}; expected vectors (n, d) and labels "
            "(n,)."
        )
    vectors = arrays["vectors"]
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
        raise FormatError(
            f"{path}: vectors are {vectors.dtype} of shape {vectors.shape}; expected (n, d) "
            "numbers."
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold is reported as infinity
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)  # a map stays one
    classes, labels = _labels(path, arrays)
    ids = _names(path, "ids", arrays["ids"]) if "ids" in arrays else _numbers(len(labels))
    meta = _meta(path, arrays)
    try:
        encoder = EncoderSpec.from_json(meta.get("encoder"))
        return EmbeddingSet(
            dataset=meta.get("dataset") or path.stem,
            classes=classes,
            labels=labels,
            ids=ids,
            vectors=vectors,
            content_fingerprint=meta.get("content_fingerprint")
            or digest([list(classes), list(ids), labels.tolist()]),
            encoder=encoder,
            groups=meta["groups"],
            default=meta["default"],
            roles=_names(path, "roles", arrays["roles"]) if "roles" in arrays else None,
            source=str(meta.get("source") or (encoder.name if encoder else path.stem)),
            terms=meta.get("terms"),
        )
    except (DataError, FormatError) as error:
        raise type(error)(f"{path}: {error}") from None


def _read_folder(folder: Path) -> dict[str, Array]:
    """The arrays of a cache folder, as those of a file."""
    cache = Cache.read(folder)
    cache.touch()
    vectors = cache.vectors()
    if vectors is None or not (folder / _FACTS).exists():
        raise FormatError(
            f"{folder} is a cache that is not complete; give the command that fills it again."
        )
    return {**read_npz(folder / _FACTS), "vectors": vectors}


def _labels(path: Path, arrays: Mapping[str, Array]) -> tuple[tuple[str, ...], Array]:
    labels = arrays["labels"]
    if labels.ndim != 1 or labels.dtype.kind not in "iuUS":
        raise FormatError(
            f"{path}: labels are {labels.dtype} of shape {labels.shape}; expected (n,) ints or "
            "strings."
        )
    if labels.dtype.kind == "S":
        labels = np.array(_names(path, "labels", labels), dtype=str)
    if "classes" in arrays and labels.dtype.kind != "U":
        return _names(path, "classes", arrays["classes"]), labels.astype(np.int64)
    names, indices = np.unique(labels, return_inverse=True)
    return tuple(names.astype(str).tolist()), indices.astype(np.int64)


def _names(path: Path, what: str, array: Array) -> tuple[str, ...]:
    """A 1-D array of strings, bytes in UTF-8 or ints, as text."""
    if array.ndim != 1 or array.dtype.kind not in "iuUS":
        raise FormatError(
            f"{path}: {what} are {array.dtype} of shape {array.shape}; expected one row of strings."
        )
    try:
        return tuple(
            name.decode() if isinstance(name, bytes) else str(name) for name in array.tolist()
        )
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: {what} are no UTF-8 ({error}); write them as text.") from None


def _numbers(n: int) -> tuple[str, ...]:
    return tuple(map(str, range(n)))


def _meta(path: Path, arrays: Mapping[str, Array]) -> dict[str, Any]:
    """The facts of the file beside its arrays; `groups` and `default` are always there."""
    try:
        meta = json.loads(str(arrays["meta"])) if "meta" in arrays else {}
        kind = (meta.get("format"), meta.get("version"))
    except (ValueError, AttributeError):
        raise FormatError(f"{path}: meta is no JSON object; write JSON or leave it out.") from None
    if kind not in ((None, None), ("oodml.embeddings", 1)):
        raise FormatError(
            f"{path}: meta has format {kind[0]!r}, version {kind[1]!r}; this oodml reads "
            "format 'oodml.embeddings', version 1."
        )
    for key in ("dataset", "content_fingerprint", "terms"):
        if not isinstance(meta.get(key), str | None):
            raise FormatError(f"{path}: meta has {key} {meta[key]!r}; expected text.")
    groups, default = meta.get("groups"), meta.get("default")
    if not (groups is None or _is_text_list(groups)):
        raise FormatError(f"{path}: meta has groups {groups!r}; expected one name a class.")
    halves = default if isinstance(default, list) else []
    if default is not None and not (len(halves) == 2 and all(map(_is_text_list, halves))):
        raise FormatError(
            f"{path}: meta has default {default!r}; expected two lists of class names."
        )
    return {
        **meta,
        "groups": None if groups is None else tuple(groups),
        "default": None if default is None else (tuple(halves[0]), tuple(halves[1])),
    }


def _is_text_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
