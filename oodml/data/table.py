"""A CSV file as a `Dataset`: a row an image, with its path and label."""

from __future__ import annotations

import csv
import difflib
import io
import os
from pathlib import Path

import numpy as np

from oodml.data.dataset import Dataset, Files, Halves
from oodml.data.folder import require_enough, telling_name
from oodml.errors import DataError

REQUIRED = ("path", "label")
VALUES = {"role": ("train", "query", "gallery"), "side": ("train", "test")}
COLUMNS = (*REQUIRED, "group", *VALUES)

Rows = dict[int, dict[str, str]]  # by line of the file: column -> text


def load_csv(file: Path, name: str | None = None, root: str | None = None) -> Dataset:
    """The images of a CSV file with a header: `path,label`, and any of `group,role,side`.

    Paths start in the folder `root`, by default the file's own; an id is the path below it. `group`
    is the superclass of the label, `side` (train or test) the label's half of the published split;
    `role` (train, query or gallery) is the image's own. A column that is there is filled in every
    row; spaces around a cell do not count, and other columns are left alone. Raises `DataError`
    with the number of the line.
    """
    file = file.expanduser().absolute()
    base = Path(root).expanduser().absolute() if root else file.parent
    rows = _read_rows(file)
    images = _images(file, base, rows)
    by_label: dict[str, list[str]] = {}
    for path, row in images.items():
        by_label.setdefault(row["label"], []).append(path)
    require_enough(file, by_label)
    classes, ids = tuple(sorted(by_label)), tuple(sorted(images))
    index = {label: number for number, label in enumerate(classes)}
    groups, sides = (_one_each(file, rows, column) for column in ("group", "side"))
    has_roles = "role" in images[ids[0]]
    return Dataset(
        name=name or telling_name(file.with_suffix("")),
        classes=classes,
        labels=np.array([index[images[path]["label"]] for path in ids]),
        ids=ids,
        source=Files(base),
        groups=tuple(groups[label] for label in classes) if groups else None,
        roles=tuple(images[path]["role"] for path in ids) if has_roles else None,
        default=_halves(file, classes, sides) if sides else None,
    )


def _wrong(file: Path, line: int, what: str) -> DataError:
    return DataError(f"{file}, line {line}: {what}.")


# Reading -----------------------------------------------------------------------------------------


def _read_rows(file: Path) -> Rows:
    reader = csv.reader(io.StringIO(_text(file), newline=""), strict=True)
    rows: Rows = {}
    try:
        header = [cell.strip() for cell in next(reader, [])]
        _check_header(file, header)
        for cells in reader:
            if cells:  # not a blank line
                rows[reader.line_num] = _row(file, reader.line_num, header, cells)
    except csv.Error as error:
        raise _wrong(file, reader.line_num, f"this is no CSV ({error})") from None
    if not rows:
        raise DataError(f"{file} has a header and no rows; expected a row an image.")
    return rows


def _text(file: Path) -> str:
    try:
        content = file.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{file} cannot be read ({reason}); expected a CSV file.") from None
    try:
        return content.decode("utf-8-sig")  # some programs put a mark before the first column
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _wrong(file, line, f"a byte is no UTF-8 ({error.reason}); save it as UTF-8") from None


def _check_header(file: Path, header: list[str]) -> None:
    expected = f"expected a header with path,label and any of {','.join(COLUMNS[2:])}"
    if not any(header):
        raise DataError(f"{file} is empty or begins with an empty line; {expected}.")
    for column in header:
        near = difflib.get_close_matches(column.lower(), COLUMNS, n=1, cutoff=0.8)
        if column not in COLUMNS and near:
            raise _wrong(file, 1, f"the column {column!r} is not known; did you mean {near[0]!r}?")
        if column in COLUMNS and header.count(column) > 1:
            raise _wrong(file, 1, f"the column {column!r} is there twice")
    if missing := [column for column in REQUIRED if column not in header]:
        found = ",".join(header)[:100]
        raise _wrong(file, 1, f"no column {' and '.join(missing)} in {found!r}; {expected}")


def _row(file: Path, line: int, header: list[str], cells: list[str]) -> dict[str, str]:
    if len(cells) != len(header):
        raise _wrong(file, line, f"{len(cells)} cells; the header has {len(header)}")
    pairs = zip(header, cells, strict=True)
    row = {column: cell.strip() for column, cell in pairs if column in COLUMNS}
    for column, cell in row.items():
        if not cell:
            raise _wrong(file, line, f"no {column}; fill it in, or leave the column out")
        if cell not in VALUES.get(column, (cell,)):
            raise _wrong(
                file, line, f"the {column} is {cell!r}; expected {' or '.join(VALUES[column])}"
            )
    return row


# Meaning -----------------------------------------------------------------------------------------


def _images(file: Path, base: Path, rows: Rows) -> dict[str, dict[str, str]]:
    """The rows by the path of their image below `base`; every image is there, and once."""
    lines: dict[str, int] = {}
    images = {}
    for line, row in rows.items():
        path = os.path.relpath(base / row["path"], base)
        if Path(path).parts[:1] == ("..",):
            raise _wrong(
                file, line, f"{row['path']!r} is not below {base}; say where paths start: ?root=DIR"
            )
        if path in lines:
            raise _wrong(file, line, f"{row['path']!r} is on line {lines[path]} already")
        if not (base / path).is_file():
            raise _wrong(
                file, line, f"there is no file {base / path}; say where paths start: ?root=DIR"
            )
        lines[path] = line
        images[Path(path).as_posix()] = row
    return images


def _one_each(file: Path, rows: Rows, column: str) -> dict[str, str]:
    """The group or side of every label; empty where there is no such column."""
    found: dict[str, tuple[str, int]] = {}
    for line, row in rows.items():
        if column in row:
            value, first = found.setdefault(row["label"], (row[column], line))
            if value != row[column]:
                raise _wrong(
                    file,
                    line,
                    f"label {row['label']!r} has the {column} {row[column]!r}, and on line {first} "
                    f"{value!r}; expected one {column} a label",
                )
    return {label: value for label, (value, _) in found.items()}


def _halves(file: Path, classes: tuple[str, ...], sides: dict[str, str]) -> Halves:
    train = tuple(label for label in classes if sides[label] == "train")
    test = tuple(label for label in classes if sides[label] == "test")
    if not train or not test:
        only = "train" if train else "test"
        raise DataError(f"{file}: every label has the side {only}; expected train and test.")
    return train, test
