"""Reading images for an encoder, beside Pillow and torchvision's first transforms, on one thread.

Real photographs decode faster than noise of the same size and slower than smooth pictures; the
synthetic ones here are in between. Their grey levels are compared with those of Pillow.
"""

from __future__ import annotations

import importlib.util
import io
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from oodml.bench.timing import BenchRow, timed
from oodml.data import Dataset, Files
from oodml.data.images import open_image
from oodml.embed.images import shape_image
from oodml.embed.reading import read_into
from oodml.embed.resize import rows_by_numba, rows_by_pillow
from oodml.embed.spec import EncoderSpec

Array = np.ndarray[Any, Any]
SPECS = (
    EncoderSpec("shorter side to 256, middle 224 x 224", "none", dim=1, size=224, resize=256),
    EncoderSpec("both sides to 224", "none", dim=1, size=224),
)
SIZES = {(500, 400): 40, (1600, 1200): 8}  # how many of each
MOST = 200  # images of a folder


def bench_reading(folders: Sequence[Path] = (), *, quick: bool = False) -> Iterator[BenchRow]:
    """Rows for synthetic JPEGs of two sizes, and for the JPEGs below each of `folders`.

    The ways take turns, so that what else the machine does falls on all of them.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as place:
            for (width, height), count in SIZES.items():
                root = Path(place) / f"{width} x {height}"
                _write(root, width, height, 2 if quick else count)
                yield from _compared(root, f"{width} x {height}", quick=quick)
        for root in folders:
            yield from _compared(root, f"{root.parent.name}/{root.name}", quick=quick)
    finally:
        torch.set_num_threads(threads)


def _compared(root: Path, what: str, *, quick: bool) -> Iterator[BenchRow]:
    found = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg"))
    ids = tuple(found[:: -(-len(found) // (2 if quick else MOST))])
    data = Dataset(what, ("all",), np.zeros(len(ids), int), ids, Files(root))
    for spec in SPECS[:1] if quick else SPECS:
        task = f"{len(ids)} JPEGs, {what}: {spec.name}"
        ways = {"oodml": _own(data, spec, rows_by_pillow)}
        if importlib.util.find_spec("numba") is not None:
            ways["oodml, rows by numba"] = _own(data, spec, rows_by_numba)
        ways["Pillow and torchvision's v1 transforms"] = _first_transforms(data, spec)
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        results: dict[str, list[Array]] = {}
        for turn in range(2 if quick else 6):
            for way, call in ways.items():
                once, results[way] = timed(call, repeats=1, warm=False)
                if turn:  # the first one is to load and to compile
                    seconds[way].append(once)
        reference = [shape_image(open_image(root / name), spec) for name in ids]
        for way in ways:
            middle = statistics.median(seconds[way])
            away = max(_away(*pair) for pair in zip(results[way], reference, strict=True))
            note = f"{len(ids) / middle:,.0f} images/s, at most {away} grey levels off"
            yield BenchRow(task, way, middle, note=note)


def _away(found: Array, expected: Array) -> int:
    return int(np.abs(found.astype(int) - expected).max())


def _own(data: Dataset, spec: EncoderSpec, rows: Callable[..., Array]) -> Callable[[], list[Array]]:
    def call() -> list[Array]:
        images = np.empty((len(data), spec.size, spec.size, 3), np.uint8)
        for row, out in enumerate(images):
            read_into(out, data, row, spec, rows)
        return [image.transpose(2, 0, 1) for image in images]

    return call


def _first_transforms(data: Dataset, spec: EncoderSpec) -> Callable[[], list[Array]]:
    from torchvision import transforms

    assert isinstance(data.source, Files)
    root = data.source.root
    steps = [transforms.Resize((spec.size, spec.size))]
    if spec.resize is not None:
        steps = [transforms.Resize(spec.resize), transforms.CenterCrop(spec.size)]
    transform = transforms.Compose([*steps, transforms.PILToTensor()])

    def read(name: str) -> Array:
        with Image.open(root / name) as image:
            found: Array = transform(image.convert("RGB")).numpy()
            return found

    return lambda: [read(name) for name in data.ids]


def _write(root: Path, width: int, height: int, count: int) -> None:
    """Smooth colours with some noise, as JPEGs of quality 85."""
    root.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
        smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        noise = rng.integers(-12, 13, (height, width, 3))
        stream = io.BytesIO()
        pixels = (np.asarray(smooth) + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(stream, "JPEG", quality=85)
        (root / f"{number}.jpg").write_bytes(stream.getvalue())
