"""Checkpoints of a training: its tensors as safetensors, all else as JSON, and no pickle.

The JSON is written last and names the file of the tensors, so that a training that is killed at any
point finds the last pair that was whole.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodml.errors import FormatError
from oodml.store import file_digest, read_json, replacing, write_json

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)
_FORMAT = "checkpoint"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state after a step: tensors by name, and the records of all steps so far."""

    step: int
    tensors: Mapping[str, torch.Tensor]
    facts: Mapping[str, Any]


def write_checkpoint(folder: Path, checkpoint: Checkpoint, run: str) -> None:
    """Keep a checkpoint of the training `run` (a digest) in place of the one before."""
    import torch
    from safetensors.torch import save_file

    name = f"checkpoint-{checkpoint.step:07}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    # A copy of each: two names of one tensor are refused.
    plain = torch.contiguous_format
    state = {
        key: value.detach().cpu().clone(memory_format=plain)
        for key, value in checkpoint.tensors.items()
    }
    with replacing(folder / name) as temporary:
        save_file(state, temporary)
        sha256 = file_digest(temporary)  # another process may do the same run in this folder
    body = {"run": run, "step": checkpoint.step, "file": name, **checkpoint.facts}
    write_json(folder / "checkpoint.json", _FORMAT, {**body, "sha256": sha256})
    for old in folder.glob("checkpoint-*.safetensors"):
        if old.name < name:
            old.unlink(missing_ok=True)


def read_checkpoint(folder: Path, run: str) -> Checkpoint | None:
    """The last checkpoint of this training; None where there is none, or it is of another one."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / "checkpoint.json"
    if not path.exists():
        return None
    try:
        body = read_json(path, _FORMAT)
        tensors = folder / Path(str(body["file"])).name
        if body["run"] != run or body["sha256"] != file_digest(tensors):
            raise FormatError(f"{path} belongs to another training.")
        state = load_file(tensors)
        known = ("format", "version", "run", "step", "file", "sha256")
        facts = {key: value for key, value in body.items() if key not in known}
        return Checkpoint(int(body["step"]), state, facts)
    except (FormatError, SafetensorError, OSError, KeyError, ValueError) as error:
        log.info("%s: %s The training starts again.", path, error)
        return None


def remove_checkpoint(folder: Path) -> None:
    """Away with it, once the result of the training is kept."""
    (folder / "checkpoint.json").unlink(missing_ok=True)
    for pattern in ("checkpoint-*.safetensors", ".checkpoint*.tmp"):  # a kill leaves the latter
        for old in folder.glob(pattern):
            old.unlink(missing_ok=True)
