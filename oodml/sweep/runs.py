"""The run store: a folder a run, named by the digest of its spec; `result.json` means done."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from oodml.errors import FormatError, RunError
from oodml.methods import Trained
from oodml.registry import plugins
from oodml.score import ScoreCard
from oodml.store import read_json, replacing, write_json, write_text
from oodml.sweep.spec import RunSpec

_PACKAGES = ("oodml", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "pillow")


@dataclass(frozen=True, slots=True)
class RunStore:
    """`<root>/<2 hex>/<sha256 of the spec>/`: spec, environment, history, weights, result."""

    root: Path

    def folder(self, spec: RunSpec) -> Path:
        name = spec.digest()
        return self.root / name[:2] / name

    def done(self, spec: RunSpec) -> bool:
        return (self.folder(spec) / "result.json").exists()

    def write(self, spec: RunSpec, trained: Trained, card: ScoreCard, seconds: float) -> None:
        """Everything of a run; the result last. A repeated run writes the same again."""
        folder = self.folder(spec)
        write_json(folder / "spec.json", "run", spec.to_json())
        write_json(folder / "env.json", "environment", environment())
        lines = (json.dumps(record, allow_nan=False) for record in trained.history)
        write_text(folder / "metrics.jsonl", "".join(f"{line}\n" for line in lines))
        if state := trained.encoder.state():
            _write_weights(folder / "model.safetensors", trained, state)
        (folder / "error.txt").unlink(missing_ok=True)
        result = {"spec": spec.digest(), "cards": [card.to_json()], "seconds": round(seconds, 3)}
        write_json(folder / "result.json", "result", result)

    def fail(self, spec: RunSpec, text: str) -> Path:
        """Keep why a run failed; its path."""
        path = self.folder(spec) / "error.txt"
        write_text(path, text)
        return path

    def cards(self, spec: RunSpec) -> list[ScoreCard]:
        return _read_cards(self.folder(spec) / "result.json")

    def all_cards(self) -> list[ScoreCard]:
        """The cards of every finished run, in the order of their digests."""
        if not self.root.is_dir():
            raise RunError(
                f"There is no run store at {self.root}; give the folder of oodml run -o."
            )
        paths = sorted(self.root.glob("[0-9a-f][0-9a-f]/*/result.json"))
        return [card for path in paths for card in _read_cards(path)]


def read_cards(roots: Iterable[Path]) -> list[ScoreCard]:
    """The cards of several stores; a run that two of them hold counts once."""
    cards = [card for root in roots for card in RunStore(root).all_cards()]
    unique = {(c.spec, c.rank, c.episode, c.shots): c for c in cards}
    if not unique:
        raise RunError("There are no finished runs here; start some with oodml run.")
    return list(unique.values())


def _read_cards(path: Path) -> list[ScoreCard]:
    record = read_json(path, "result")
    try:
        return [ScoreCard.from_json(card) for card in record["cards"]]
    except (KeyError, TypeError, FormatError) as error:
        raise FormatError(f"{path}: {error}; remove that folder and run again.") from None


def _write_weights(path: Path, trained: Trained, state: Mapping[str, Any]) -> None:
    from safetensors.torch import save_file

    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"arch": trained.encoder.spec.arch})


def environment() -> dict[str, Any]:
    """What a result was computed with: versions, machine type, threads; never a host or a path."""
    import torch

    return {
        "python": platform.python_version(),
        "platform": f"{sys.platform}-{platform.machine()}",
        "packages": {name: version(name) for name in _PACKAGES},
        "plugins": {plugin.path.name: plugin.sha256 for plugin in plugins()},
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "device": "cpu",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
