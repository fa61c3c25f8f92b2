"""The run store: a folder a run, named by the digest of its spec; `result.json` means scored."""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from oodml.embed.network import Network
from oodml.embed.trained import read_trained, write_trained
from oodml.errors import FormatError, RunError, WeightsError
from oodml.methods import FeatureEncoder, Trained, read_head, write_head
from oodml.methods.checkpoint import remove_checkpoint
from oodml.methods.heads import Head, parts_of, with_head
from oodml.registry import plugins
from oodml.score import ScoreCard, unite
from oodml.store import file_digest, read_json, write_json, write_text
from oodml.sweep.spec import RunSpec

Model = FeatureEncoder | Network
log = logging.getLogger(__name__)
_PACKAGES = ("oodml", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "pillow")


@dataclass(frozen=True, slots=True)
class RunStore:
    """`<root>/<2 hex>/<sha256 of the spec>/`: spec, environment, history, weights, result.

    The model is kept once it is trained, and the result written when it was scored; a result names
    the model that it is of by its digest.
    """

    root: Path

    def folder(self, spec: RunSpec) -> Path:
        name = spec.digest()
        return self.root / name[:2] / name

    def result(self, spec: RunSpec) -> Path:
        return self.folder(spec) / "result.json"

    def model(self, spec: RunSpec) -> Path:
        return self.folder(spec) / "model.safetensors"

    def done(self, spec: RunSpec, metrics: Iterable[str]) -> bool:
        """Whether the run was scored by all of these metrics."""
        known = self.metrics(spec)
        return bool(known) and {*metrics} <= {*known}

    def metrics(self, spec: RunSpec) -> tuple[str, ...]:
        """What the run was scored by; nothing where it was not yet."""
        if not self.result(spec).exists():
            return ()
        return tuple({name: None for card in self.cards(spec) for name in card.values})

    def encoder(self, spec: RunSpec, d: int) -> Model | None:
        """The model of a run, read again: a head for vectors `(n, d)`, or a whole network.

        None where none was kept, or what is there is not what was scored: to be trained again.
        """
        path = self.model(spec)
        if not path.exists():
            return None
        try:
            model = read_head(path, d) if spec.protocol == "head" else read_trained(path)
        except WeightsError as error:
            log.info("%s Trained again: %s", error, spec.label())
            return None
        result = read_json(self.result(spec), "result") if self.result(spec).exists() else {}
        if "model" in result and result["model"] != file_digest(path):
            log.info("%s is not the model that was scored. Trained again: %s", path, spec.label())
            return None
        return model

    def keep(
        self,
        spec: RunSpec,
        trained: Trained,
        before: Network | None = None,
        *,
        device: str = "cpu",
    ) -> None:
        """What was trained and how; the model last. A repeated run writes the same again.

        A head is kept with the network `before` it, where one is given.
        """
        folder, encoder = self.folder(spec), trained.encoder
        write_json(folder / "spec.json", "run", spec.to_json())
        write_json(folder / "env.json", "environment", environment(device))
        lines = (json.dumps(record, allow_nan=False) for record in trained.history)
        write_text(folder / "metrics.jsonl", "".join(f"{line}\n" for line in lines))
        if isinstance(encoder, Network):
            write_trained(self.model(spec), encoder.spec, *parts_of(encoder))
        elif isinstance(encoder, Head) and before is not None:
            whole = with_head(before, encoder)
            write_trained(self.model(spec), whole.spec, *parts_of(whole))
        elif encoder.state():
            write_head(self.model(spec), encoder)

    def write(self, spec: RunSpec, card: ScoreCard, seconds: float) -> None:
        """The result of the model that was kept, in place of any other."""
        model = self.model(spec)
        result = {
            "spec": spec.digest(),
            "model": file_digest(model) if model.exists() else None,
            "cards": [card.to_json()],
            "seconds": round(seconds, 3),
        }
        self._write_result(spec, result)

    def add(self, spec: RunSpec, card: ScoreCard, seconds: float) -> None:
        """Further metrics of a run that was scored before, and with what they were computed."""
        result = read_json(self.result(spec), "result")
        before = self.cards(spec)
        added = {
            "metrics": sorted(card.values),
            "seconds": round(seconds, 3),
            "environment": environment(),
        }
        result["cards"] = [unite(old, card).to_json() for old in before]
        result["added"] = [*result.get("added", []), added]
        self._write_result(spec, result)

    def _write_result(self, spec: RunSpec, result: dict[str, Any]) -> None:
        write_json(self.result(spec), "result", result)
        (self.folder(spec) / "error.txt").unlink(missing_ok=True)
        remove_checkpoint(self.folder(spec))

    def fail(self, spec: RunSpec, text: str) -> Path:
        """Keep why a run failed; its path."""
        path = self.folder(spec) / "error.txt"
        write_text(path, text)
        return path

    def cards(self, spec: RunSpec) -> list[ScoreCard]:
        return _read_cards(self.result(spec))

    def all_cards(self) -> list[ScoreCard]:
        """The cards of every finished run, in the order of their digests."""
        if not self.root.is_dir():
            raise RunError(
                f"There is no run store at {self.root}; give the folder of oodml run -o."
            )
        paths = sorted(self.root.glob("[0-9a-f][0-9a-f]/*/result.json"))
        return [card for path in paths for card in _read_cards(path)]


def has_weights(model: Model) -> bool:
    """Whether there is anything of a model to keep."""
    return isinstance(model, Network) or bool(model.state())


def read_cards(roots: Iterable[Path]) -> list[ScoreCard]:
    """The cards of several stores; a run that two of them hold counts once, with all its metrics.

    Where two stores say something else of the same run, the fuller card is taken as it is.
    """
    cards = [card for root in roots for card in RunStore(root).all_cards()]
    unique: dict[tuple[Any, ...], ScoreCard] = {}
    for card in cards:
        key = (card.spec, card.rank, card.episode, card.shots)
        known = unique.get(key)
        unique[key] = card if known is None else _one_card(known, card)
    if not unique:
        raise RunError("There are no finished runs here; start some with oodml run.")
    return list(unique.values())


def _one_card(one: ScoreCard, other: ScoreCard) -> ScoreCard:
    shared = one.values.keys() & other.values.keys()
    if all(one.values[name] == other.values[name] for name in shared):
        return unite(one, other)
    return max(other, one, key=lambda card: len(card.values))


def _read_cards(path: Path) -> list[ScoreCard]:
    record = read_json(path, "result")
    try:
        return [ScoreCard.from_json(card) for card in record["cards"]]
    except (KeyError, TypeError, FormatError) as error:
        raise FormatError(f"{path}: {error}; remove that folder and run again.") from None


def environment(device: str = "cpu") -> dict[str, Any]:
    """What a result was computed with: versions, machine type, threads; never a host or a path."""
    import torch

    return {
        "python": platform.python_version(),
        "platform": f"{sys.platform}-{platform.machine()}",
        "packages": {name: version(name) for name in _PACKAGES},
        "plugins": {plugin.path.name: plugin.sha256 for plugin in plugins()},
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "device": device,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
