"""`py:module:function`: encoders of one's own code."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

import oodml
from oodml.embed import open_encoder
from oodml.embed.network import Network
from oodml.errors import UnknownNameError, WeightsError

CODE = '''
"""Three encoders."""

from dataclasses import dataclass
from pathlib import Path

import torch

from oodml.embed import EncoderSpec
from oodml.embed.images import shape_image
from oodml.embed.network import Network

not_a_function = 3


def module(dim=4, seed=0, bias=False):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        flat = torch.nn.Flatten()
        pool = torch.nn.AdaptiveAvgPool2d(4)
        return torch.nn.Sequential(pool, flat, torch.nn.Linear(48, dim, bias=bias))


@dataclass(frozen=True, slots=True)
class Means:
    spec: EncoderSpec

    def transform(self, image):
        return shape_image(image, self.spec)

    def __call__(self, batch):
        return batch.float().mean((2, 3))


def scaled(by=1.0):
    return Means(EncoderSpec("mine", "means", dim=3, size=8))


def means(size):
    return Means(EncoderSpec("mine", "means", dim=3, size=int(size)))


def network():
    return Network(EncoderSpec("mine", "net", dim=4, size=16), module())


def stored():
    return module(seed=int(Path("seed.txt").read_text()))


def failing():
    raise KeyError("no such thing")


def nothing():
    return 5
'''


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A current folder with a module of one's own; it is forgotten afterwards."""
    write(tmp_path, CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


def write(folder: Path, code: str) -> None:
    (folder / "mine.py").write_text(code)
    sys.modules.pop("mine", None)


def batch(size: int) -> torch.Tensor:
    return torch.randint(0, 256, (3, 3, size, size), dtype=torch.uint8)


def test_a_bare_module_is_shown_what_the_name_says() -> None:
    encoder = open_encoder("py:mine:module?dim=6&size=16&mean=0.5&std=0.25")
    images = batch(16)
    module = sys.modules["mine"].module(dim=6)
    with torch.inference_mode():
        expected = module((images / 255 - 0.5) / 0.25)
    torch.testing.assert_close(encoder(images), expected)
    assert (encoder.spec.dim, encoder.spec.size, encoder.spec.arch) == (6, 16, "py:mine:module")
    assert open_encoder("py:mine:module").spec.size == 224
    assert sys.path.count(str(Path.cwd())) == 0


def test_an_object_with_the_methods_of_an_encoder_is_one() -> None:
    encoder = open_encoder("py:mine:means?size=8")
    images = batch(8)
    torch.testing.assert_close(encoder(images), images.float().mean((2, 3)))
    assert encoder.spec.name == "py:mine:means?size=8"
    assert isinstance(open_encoder("py:mine:network"), Network)
    data = oodml.load_data("digits")
    small = open_encoder("py:mine:network")
    found = oodml.embed_data(data, small, cache=False)
    assert found.vectors.shape == (len(data), 4)


@pytest.mark.parametrize("name", ["py:mine:module?size=16", "py:mine:network"])
def test_the_identity_follows_code_and_weights(folder: Path, name: str) -> None:
    first = open_encoder(name).spec
    sys.modules.pop("mine")
    assert open_encoder(name).spec == first
    assert str(folder) not in json.dumps(first.to_json())
    write(folder, CODE + "\n# another")
    changed = open_encoder(name).spec
    assert changed.identity() != first.identity()


def test_the_identity_follows_the_weights_alone(folder: Path) -> None:
    """The name is no part of an identity: other weights must be seen in themselves."""
    specs = []
    for seed in (0, 0, 1):
        (folder / "seed.txt").write_text(str(seed))
        specs.append(open_encoder("py:mine:stored?size=16").spec)
    assert specs[0] == specs[1]
    assert specs[0].identity() != specs[2].identity()


def test_the_identity_follows_what_the_function_is_given() -> None:
    names = ["py:mine:scaled", "py:mine:scaled?by=1", "py:mine:scaled?by=2"]
    identities = {open_encoder(name).spec.identity() for name in names}
    assert len(identities) == 3


@pytest.mark.parametrize("name", ["made", "maker", "imported"])
def test_the_identity_follows_the_code_of_what_is_no_plain_function(
    folder: Path, name: str
) -> None:
    """A partial, an object that is called, a function of another module."""
    more = "import functools\nfrom other import imported\nmade = functools.partial(module, dim=4)\n"
    more += "class Maker:\n    def __call__(self):\n        return module()\nmaker = Maker()\n"
    other = "import torch\ndef imported():\n    return torch.nn.Flatten()\n"
    identities = []
    for code, beside in ((CODE, other), (CODE + "# x\n", other), (CODE, other + "# x\n")):
        (folder / "other.py").write_text(beside)
        sys.modules.pop("other", None)
        write(folder, code + more)
        identities.append(open_encoder(f"py:mine:{name}?size=4").spec.identity())
    sys.modules.pop("other")
    assert len(set(identities)) == (3 if name == "imported" else 2)


def test_the_identity_follows_weights_that_are_no_attribute(folder: Path) -> None:
    """The parts of an ensemble, which a class of one's own keeps in a list."""
    ensemble = """
class Ensemble:
    spec = EncoderSpec("mine", "nets", dim=3, size=8)

    def __init__(self, nets):
        self.nets = nets

    def transform(self, image):
        return shape_image(image, self.spec)

    def __call__(self, batch):
        return sum(net(batch.float()) for net in self.nets)


def ensemble():
    return Ensemble([module(), stored()])
"""
    write(folder, CODE + ensemble)
    identities = []
    for seed in (0, 0, 1):
        (folder / "seed.txt").write_text(str(seed))
        identities.append(open_encoder("py:mine:ensemble").spec.identity())
    assert identities[0] == identities[1] != identities[2]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("py:mine", "expected py:MODULE:FUNCTION"),
        (
            "py:nowhere_to_be_found:x",
            "there is no module .*; expected an installed one, or nowhere",
        ),
        ("py:mine:modul", "mine has no function 'modul'; nearest: module"),
        ("py:mine:not_a_function", "mine has no function 'not_a_function'"),
        ("py:mine:failing", r"cannot be opened \(KeyError: 'no such thing'\); mend it"),
        ("py:mine:nothing", "gives a int; expected an encoder"),
        ("py:mine:means", r"cannot be opened \(TypeError: means\(\) missing 1 required"),
        ("py:mine:module?depth=3", "has no parameter 'depth'; it takes: bias, crop, dim"),
        ("py:mine:module?dim=x", "parameter dim is 'x'; expected a int such as 4"),
        ("py:mine:network?mean=0.5", "gives mean, which network does not take"),
        ("py:mine:module?size=2&crop=1", "size=S alone, or resize=R&crop=S"),
    ],
)
def test_what_is_wrong_is_explained(name: str, message: str) -> None:
    with pytest.raises((UnknownNameError, WeightsError), match=message):
        open_encoder(name)


def test_a_module_that_cannot_be_imported_is_told(folder: Path) -> None:
    write(folder, "import nowhere_to_be_found")
    with pytest.raises(UnknownNameError, match="mine needs nowhere_to_be_found, which is not inst"):
        open_encoder("py:mine:module")
    write(folder, "def (")
    with pytest.raises(
        UnknownNameError, match=r"mine cannot be imported \(SyntaxError: .*\); mend"
    ):
        open_encoder("py:mine:module")
