"""Files of weights, and how they get into a network: every key and shape must match."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from oodml.errors import WeightsError

if TYPE_CHECKING:
    import torch

    from oodml.embed.architectures import Body

    State = Mapping[str, torch.Tensor]


def read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors and the metadata of a `.safetensors` file, which holds no code.

    Raises `WeightsError` where it is of another kind, not there, or damaged.
    """
    from safetensors import SafetensorError, safe_open

    if path.suffix != ".safetensors":
        raise WeightsError(
            f"{path} is not a .safetensors file; other formats can run code when loaded: save the "
            "state dict with safetensors.torch.save_file."
        )
    if not path.is_file():
        raise WeightsError(f"There are no weights at {path}; give the path of a .safetensors file.")
    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return state, dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} cannot be read as safetensors: {error}.") from None


def read_published_pickle(path: Path) -> dict[str, torch.Tensor]:
    """A published state dict, whose hash was checked; only tensors are unpickled."""
    import torch

    state: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


# Into a network ----------------------------------------------------------------------------------


def filled(build: Callable[[], Body], state: State, where: str, arch: str) -> torch.nn.Module:
    """The network that `build` makes, with these weights; raises `WeightsError` if they do not fit.

    The names are compared before memory is taken. A classifier may be left over, and old files lack
    the counters of batch normalisation, which play no part in the vectors.
    """
    import torch

    with torch.device("meta"):
        sketch = _sketched(build)
    body = sketch or build()
    own = body.own(state)
    if differences := _differences(body.module, own):
        raise WeightsError(f"{where} does not fit {arch}: {'; '.join(differences)}.")
    if sketch:
        body.module.to_empty(device="cpu")
    module = body.module
    # What a file may lack are counters of integers; other values all come from it.
    for key, value in module.state_dict().items():
        if key.endswith(_COUNTER):
            value.zero_()
    module.load_state_dict(own, strict=False)
    return module


_COUNTER = ".num_batches_tracked"


def _sketched(build: Callable[[], Body]) -> Body | None:
    """The network without memory for its weights (on the meta device), which saves filling it.

    None where that cannot be: what is no part of a state dict would stay empty.
    """
    import torch

    try:
        body = build()
    except (RuntimeError, WeightsError):  # it computes with values while it is built
        return None
    module = body.module
    kept = module.state_dict().keys()
    named = [key for key, _ in module.named_parameters(remove_duplicate=False)]
    named += [key for key, _ in module.named_buffers(remove_duplicate=False)]
    plain = any(
        isinstance(value, torch.Tensor)
        for part in module.modules()
        for value in vars(part).values()
    )
    return None if plain or any(key not in kept for key in named) else body


def _differences(module: torch.nn.Module, state: State) -> list[str]:
    """In what the keys and shapes of a state dict differ from those of a network."""
    own = module.state_dict()
    counters = {key for key in own if key.endswith(_COUNTER)}
    differences = []
    for what, keys in (
        ("missing", own.keys() - state.keys() - counters),
        ("unknown", state.keys() - own.keys()),
    ):
        if keys:
            differences.append(f"{len(keys)} {what} ({_some(keys)})")
    wrong = {
        f"{key}: {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own.keys() & state.keys()
        if own[key].shape != state[key].shape
    }
    if wrong:
        differences.append(f"{len(wrong)} of another shape ({_some(wrong)})")
    return differences


def _some(names: set[str], most: int = 3) -> str:
    shown = sorted(names)[:most]
    return ", ".join(shown) + (", ..." if len(names) > most else "")
