"""torchvision networks without their classifier: published weights, one's own, or random."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodml.embed.network import Network
from oodml.embed.spec import Encoder, EncoderSpec
from oodml.errors import UnknownNameError, WeightsError
from oodml.registry import Name
from oodml.store import file_digest, offline

if TYPE_CHECKING:
    import torch

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_OPTIONS = {"size": 0, "resize": 0, "crop": 0, "mean": "", "std": "", "interpolation": "bilinear"}
_AUXILIARY = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
_CLASSIFIERS = ("fc", "classifier", "heads", "head")


def open_torchvision(name: Name) -> Encoder:
    """`tv:ARCH[.TAG]`, or `tv:ARCH?init=random&seed=0`; `size=S` resizes both sides."""
    options = name.resolve({**_OPTIONS, "init": "", "seed": 0})
    arch, _, tag = name.argument.partition(".")
    build = find_architecture(arch)
    if options["init"] == "random":
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options["seed"])
            module = build()
        weights, defaults = f"random:{options['seed']}", {"size": 224, "resize": 256, **IMAGENET}
        return _network(name, f"tv:{arch}", module, weights, _shape(name, options, defaults))
    if options["init"]:
        raise UnknownNameError(f"{name.text!r}: init is {options['init']!r}; expected random.")
    published = _published(arch, tag)
    path = _downloaded(published.url)
    state = torch_load(path)
    preset = published.transforms()
    defaults = {
        "size": preset.crop_size[0],
        "resize": preset.resize_size[0],
        "mean": tuple(preset.mean),
        "std": tuple(preset.std),
        "interpolation": preset.interpolation.value,
    }
    module = _fitted(build(), state, str(path), arch)
    if hasattr(module, "transform_input"):  # as torchvision does with its own weights
        module.transform_input = True  # type: ignore[assignment]
    return _network(name, f"tv:{arch}", module, file_digest(path), _shape(name, options, defaults))


def open_file(name: Name) -> Encoder:
    """`file:WEIGHTS.safetensors?arch=tv:ARCH&mean=M&std=S&size=S`: one's own weights."""
    options = name.resolve({**_OPTIONS, "arch": ""})
    path = Path(name.argument)
    if path.suffix != ".safetensors":
        raise WeightsError(
            f"{path} is not a .safetensors file; other formats can run code when loaded: save the "
            "state dict with safetensors.torch.save_file."
        )
    if not path.is_file():
        raise WeightsError(f"There are no weights at {path}; give the path of a .safetensors file.")
    if not options["arch"].startswith("tv:"):
        raise WeightsError(
            f"{name.text!r} has arch {options['arch']!r}; expected a torchvision network, as in "
            "file:weights.safetensors?arch=tv:resnet50."
        )
    arch = options["arch"].removeprefix("tv:")
    module = _fitted(find_architecture(arch)(), _read_safetensors(path), path.name, arch)
    shape = _shape(name, options, {"size": 224, "resize": 256, **IMAGENET})
    # The spec goes into results and caches, where a path means nothing: keep the file's name only.
    query = name.text.partition("?")[2]
    portable = Name.parse(f"file:{path.name}?{query}")
    return _network(portable, f"tv:{arch}", module, file_digest(path), shape)


def find_architecture(arch: str) -> Any:
    """The constructor of a torchvision classification network, without weights."""
    from torchvision import models

    known = models.list_models(module=models)
    if arch not in known:
        import difflib

        near = ", ".join(difflib.get_close_matches(arch, known, n=3, cutoff=0.3) or known[:3])
        raise UnknownNameError(f"'tv:{arch}' is not a torchvision network; nearest: {near}.")
    # Heads that help only in training are left out.
    options = {"aux_logits": False, "init_weights": True} if arch in _AUXILIARY else {}
    return lambda: models.get_model(arch, weights=None, **options)


def _network(
    name: Name, arch: str, module: torch.nn.Module, weights: str, shape: Mapping[str, Any]
) -> Encoder:
    import torch

    dim = _drop_classifier(module, arch)
    module = module.eval().to(memory_format=torch.channels_last)
    spec = EncoderSpec(name=name.text, arch=arch, dim=dim, weights=weights, pool="network", **shape)
    network = Network(spec, module)
    sides = f"{spec.size} x {spec.size} pixels"
    try:
        found = network(torch.zeros(1, 3, spec.size, spec.size, dtype=torch.uint8))
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).partition("\n")[0].rstrip(". ") or type(error).__name__
        raise WeightsError(
            f"{name.text!r} cannot take images of {sides} ({reason}); choose another size."
        ) from None
    if found.shape != (1, dim):
        raise WeightsError(
            f"{name.text!r} gives {tuple(found.shape)} for one image of {sides}; expected "
            f"{(1, dim)}: choose another network."
        )
    return network


def _shape(name: Name, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The input's shape and scale: what the name says, else what belongs to the weights."""
    shape = dict(defaults)
    _check_sizes(name, options)
    if options["size"]:
        shape |= {"size": options["size"], "resize": None}
    if options["crop"] or options["resize"]:
        if not options["crop"] or options["size"] or options["resize"] < options["crop"]:
            raise UnknownNameError(
                f"{name.text!r}: expected size=S alone, or resize=R&crop=S with R at least S."
            )
        shape |= {"size": options["crop"], "resize": options["resize"]}
    for key in ("mean", "std"):
        if options[key]:
            shape[key] = _numbers(name, key, options[key])
    if "interpolation" in name.params:
        shape["interpolation"] = options["interpolation"]
    if shape.get("interpolation", "bilinear") not in ("nearest", "bilinear", "bicubic", "lanczos"):
        raise UnknownNameError(
            f"{name.text!r}: interpolation {shape['interpolation']!r} is not known."
        )
    return shape


def _check_sizes(name: Name, options: Mapping[str, Any]) -> None:
    for key in ("size", "resize", "crop"):
        if key in name.params and options[key] < 1:
            raise UnknownNameError(f"{name.text!r}: {key} is {options[key]}; expected 1 or more.")


def _numbers(name: Name, key: str, text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 3) or (key == "std" and min(numbers) <= 0):
        raise UnknownNameError(f"{name.text!r}: {key} is {text!r}; expected one number or R,G,B.")
    return numbers * 3 if len(numbers) == 1 else numbers


# Weights -----------------------------------------------------------------------------------------


def _published(arch: str, tag: str) -> Any:
    from torchvision import models

    known = models.get_model_weights(arch)
    if not tag:
        return known.DEFAULT
    if tag not in known.__members__:
        raise UnknownNameError(
            f"tv:{arch} has no weights {tag!r}; it has {', '.join(known.__members__)}."
        )
    return known[tag]


def _downloaded(url: str) -> Path:
    """The file of published weights, downloaded once into torch's own cache (`TORCH_HOME`)."""
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if path.is_file():
        return path
    advice = f"Weights {path.name} are not on this machine: put the file of {url} at {path}"
    if offline():
        raise WeightsError(f"{advice} (OODML_OFFLINE is set, nothing is downloaded).")
    try:
        urllib.request.urlopen(url, timeout=5).close()
        path.parent.mkdir(parents=True, exist_ok=True)
        expected = path.stem.rsplit("-", 1)[-1]
        torch.hub.download_url_to_file(url, str(path), hash_prefix=expected, progress=False)
    except (TimeoutError, urllib.error.URLError, OSError, RuntimeError) as error:
        raise WeightsError(f"{advice} (the download failed: {error}).") from None
    return path


def torch_load(path: Path) -> dict[str, torch.Tensor]:
    """A published state dict; only tensors are unpickled."""
    import torch

    state: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: dict[str, torch.Tensor] = load_file(path)
        return state
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} cannot be read as safetensors: {error}.") from None


def _fitted(
    module: torch.nn.Module, state: Mapping[str, torch.Tensor], where: str, arch: str
) -> torch.nn.Module:
    """The module with these weights: every key and shape must match; a classifier may differ.

    Old files lack the counters of batch normalisation, which play no part in the vectors.
    """
    own = module.state_dict()
    prefix = (_classifier(module, arch) + ".", *_AUXILIARY.get(arch, ()))
    counters = {key for key in own if key.endswith(".num_batches_tracked")}
    differences = []
    for what, keys in (
        ("missing", own.keys() - state.keys() - counters),
        ("unknown", state.keys() - own.keys()),
    ):
        if keys := {key for key in keys if not key.startswith(prefix)}:
            differences.append(f"{len(keys)} {what} ({_some(keys)})")
    wrong = {
        f"{key}: {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own.keys() & state.keys()
        if own[key].shape != state[key].shape and not key.startswith(prefix)
    }
    if wrong:
        differences.append(f"{len(wrong)} of another shape ({_some(wrong)})")
    if differences:
        raise WeightsError(f"{where} does not fit tv:{arch}: {'; '.join(differences)}.")
    body = {key: value for key, value in state.items() if not key.startswith(prefix)}
    module.load_state_dict(body, strict=False)
    return module


def _some(names: set[str], most: int = 3) -> str:
    shown = sorted(names)[:most]
    return ", ".join(shown) + (", ..." if len(names) > most else "")


def _classifier(module: torch.nn.Module, arch: str) -> str:
    """The dotted name of the last linear layer, which is the classifier."""
    import torch

    linear = [
        key
        for key, child in module.named_modules()
        if isinstance(child, torch.nn.Linear) and key.split(".")[0] in _CLASSIFIERS
    ]
    if not linear:
        raise WeightsError(f"{arch} has no linear classifier to drop; choose another network.")
    return str(linear[-1])


def _drop_classifier(module: torch.nn.Module, arch: str) -> int:
    """Replace the classifier by the identity; the dimension of what it received."""
    import torch

    key = _classifier(module, arch)
    linear = module.get_submodule(key)
    assert isinstance(linear, torch.nn.Linear)
    parent, _, child = key.rpartition(".")
    setattr(module.get_submodule(parent), child, torch.nn.Identity())
    return linear.in_features
