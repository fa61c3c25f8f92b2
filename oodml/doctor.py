"""What a machine has for oodml: versions, devices, memory, places, extras, and whole caches."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from oodml.embed.upkeep import Checked, check_caches, folder_bytes
from oodml.store import home, offline

CORE = (
    *("oodml", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "pot", "matplotlib"),
    *("pillow", "safetensors", "click", "rich", "jinja2", "threadpoolctl"),
)
# The packages of every extra that a user may have.
EXTRAS = {
    "timm": ("timm",),
    "clip": ("open-clip-torch",),
    "onnx": ("onnxruntime", "onnx"),
    "fast": ("numba",),
    "peers": ("faiss-cpu", "torchmetrics", "pytorch-fid", "pytorch-metric-learning"),
}
_FOLDERS = ("datasets", "embeddings", "pixels", "weights")
_CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


@dataclass(frozen=True, slots=True)
class Device:
    """What torch can compute on; memory in bytes, None where the system does not tell.

    `bf16` says whether it multiplies bf16 in hardware; `facts` what it knows besides.
    """

    device: str
    name: str
    memory: int | None
    free: int | None
    bf16: bool | None
    facts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """A folder, and how many bytes lie in it; None where it is not there."""

    name: str
    path: str
    bytes: int | None


@dataclass(frozen=True, slots=True)
class Health:
    """What `examine` found. Of `versions` and `extras`, None means not installed."""

    python: str
    platform: str
    versions: Mapping[str, str | None]
    extras: Mapping[str, Mapping[str, str | None]]
    devices: tuple[Device, ...]
    threads: int
    offline: bool
    places: tuple[Place, ...]
    caches: tuple[Checked, ...] | None

    @property
    def damaged(self) -> int:
        """How many shards of the caches are damaged; 0 where nobody looked."""
        return sum(len(cache.damaged) for cache in self.caches or ())


def examine(*, verify: bool = False, repair: bool = False) -> Health:
    """What there is on this machine. `verify` reads all caches of vectors and compares digests.

    `repair` also removes what is damaged, so that the next use embeds these images again.
    """
    import torch

    return Health(
        python=platform.python_version(),
        platform=platform.platform(),
        versions={name: _version(name) for name in CORE},
        extras={extra: {name: _version(name) for name in names} for extra, names in EXTRAS.items()},
        devices=tuple(_devices()),
        threads=torch.get_num_threads(),
        offline=offline(),
        places=tuple(_places()),
        caches=tuple(check_caches(repair=repair)) if verify or repair else None,
    )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> Iterator[Device]:
    import torch

    flags = _cpu_flags()
    page = os.sysconf("SC_PAGE_SIZE")
    yield Device(
        device="cpu",
        name=f"{os.cpu_count()} cores",
        memory=_sysconf("SC_PHYS_PAGES", page),
        free=_sysconf("SC_AVPHYS_PAGES", page),
        bf16=None if flags is None else bool({"avx512_bf16", "amx_bf16"} & flags),
        facts=tuple(flag for flag in _CPU_FLAGS if flag in (flags or ())),
    )
    for index in range(torch.cuda.device_count()):
        try:
            yield _gpu(index)
        except RuntimeError as error:  # as of a GPU that is full or was lost
            said = str(error).partition("\n")[0]
            yield Device(f"cuda:{index}", "cannot be used", None, None, None, (said,))


def _gpu(index: int) -> Device:
    """Raises `RuntimeError` where torch cannot use it."""
    import torch

    free, total = torch.cuda.mem_get_info(index)
    facts: Any = torch.cuda.get_device_properties(index)
    return Device(
        device=f"cuda:{index}",
        name=facts.name,
        memory=total,
        free=free,
        bf16=facts.major >= 8,  # Ampere and later
        facts=(f"compute capability {facts.major}.{facts.minor}",),
    )


def _cpu_flags() -> set[str] | None:
    """What the processor can do, as Linux lists it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = [line.partition(":")[2].split() for line in lines if line.startswith("flags")]
    return set(found[0]) if found else None


def _sysconf(name: str, unit: int) -> int | None:
    try:
        return os.sysconf(name) * unit
    except (ValueError, OSError):
        return None


def _places() -> Iterator[Place]:
    """The caches of oodml, and those of others that weights come from."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for name in _FOLDERS:
        yield _place(f"OODML_HOME/{name}", home() / name)
    for name, default in (("TORCH_HOME", "torch"), ("HF_HOME", "huggingface")):
        yield _place(name, Path(os.environ.get(name) or cache / default))


def _place(name: str, path: Path) -> Place:
    return Place(name, str(path), folder_bytes(path) if path.is_dir() else None)
