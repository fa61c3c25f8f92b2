"""Names and registries."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from oodml import registry
from oodml.errors import UnknownNameError
from oodml.registry import Name, Registry


@pytest.mark.parametrize(
    ("text", "key", "argument", "params"),
    [
        ("frozen", "frozen", "", {}),
        ("tv:resnet50.IMAGENET1K_V1", "tv", "resnet50.IMAGENET1K_V1", {}),
        ("recall@1|62", "recall", "1|62", {}),
        ("head?lr=0.1&dim=8", "head", "", {"lr": "0.1", "dim": "8"}),
        (
            "file:a/b.safetensors?arch=tv:x+linear:512",
            "file",
            "a/b.safetensors",
            {"arch": "tv:x+linear:512"},
        ),
        ("folder:/a b?name=x%26y", "folder", "/a b", {"name": "x&y"}),
        ("folder:/why%3F?name=x", "folder", "/why?", {"name": "x"}),
    ],
)
def test_names_are_parsed(text: str, key: str, argument: str, params: dict[str, str]) -> None:
    name = Name.parse(text)
    assert (name.key, name.argument, dict(name.params)) == (key, argument, params)


@pytest.mark.parametrize("text", ["", ":x", "@1", "x?novalue", "x?a=1&a=2"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(UnknownNameError, match=r"not a name|not of the form|twice"):
        Name.parse(text)


def test_parameters_take_the_type_of_their_default() -> None:
    defaults = {"lr": 0.1, "steps": 3, "on": False, "tag": "", "other": None}
    found = Name.parse("m?lr=1&steps=5&on=true&tag=a&other=b").resolve(defaults)
    assert found == {"lr": 1.0, "steps": 5, "on": True, "tag": "a", "other": "b"}
    assert isinstance(found["lr"], float)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("m?steps=1.5", "expected a int such as 3"),
        ("m?on=maybe", "expected a bool"),
        ("m?nothing=1", r"no parameter 'nothing'; it takes: lr, on, steps"),
        ("m?lr=nan", "expected a finite number"),
    ],
)
def test_wrong_parameters_are_explained(text: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        Name.parse(text).resolve({"lr": 0.1, "steps": 3, "on": False})


def test_unknown_names_list_the_nearest() -> None:
    names = Registry("methods", {"frozen": 1, "multisimilarity": 2, "margin": 3})
    with pytest.raises(
        UnknownNameError, match="'multisimilarty' is not among the methods; nearest: mu"
    ):
        names["multisimilarty"]
    assert list(names) == ["frozen", "margin", "multisimilarity"]
    assert "frozen" in names
    assert "nothing" not in names
    assert names["margin"] == 3


def test_installed_plug_ins_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("mine", "math:pi", "oodml.measures")
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [point] * (group == "oodml.measures")
    )
    names = Registry("measures", {"frechet": 1.0})
    assert names["mine"] == pytest.approx(3.14159, abs=1e-4)
    assert list(names) == ["frechet", "mine"]


def test_a_name_taken_twice_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("frechet", "math:pi", "oodml.measures")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])  # noqa: ARG005
    names = Registry("measures", {"frechet": 1.0})
    for look in (lambda: list(names), lambda: names["frechet"]):
        with pytest.raises(UnknownNameError, match="'frechet' of measures is taken twice"):
            look()
