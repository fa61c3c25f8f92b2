"""Small image folders, and an encoder that tells what it was given."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import oodml
from oodml.data import Dataset
from oodml.embed import EncoderSpec
from oodml.embed.images import shape_image


def folder_data(root: Path, n: int = 6, side: int = 20) -> Dataset:
    """n grey images of noise in 2 classes."""
    rng = np.random.default_rng(1)
    for i in range(n):
        path = root / "ab"[i % 2] / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (side, side), dtype=np.uint8)).save(path)
    return oodml.load_data(f"folder:{root}")


@dataclass
class Counting:
    """Corner pixels as vectors; `seen` are the sizes of its batches, also appended to `log`.

    Above `fits` images it runs out of memory.
    """

    fits: int = 10**6
    dim: int = 4
    log: Path | None = None
    pause: float = 0.0
    name: str = "counting"
    seen: list[int] = field(default_factory=list)

    @property
    def spec(self) -> EncoderSpec:
        return EncoderSpec(self.name, "counting/1", dim=self.dim, size=8, mode="L")

    def transform(self, image: Image.Image) -> np.ndarray[Any, Any]:
        return shape_image(image, self.spec)

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        if len(batch) > self.fits:
            raise torch.OutOfMemoryError("out of memory")
        self.seen.append(len(batch))
        if self.log:
            with self.log.open("a") as stream:
                stream.write(f"{len(batch)}\n")
        time.sleep(self.pause)
        return batch.flatten(1)[:, : self.dim].float() + 1

    @property
    def images(self) -> int:
        return sum(self.seen)
