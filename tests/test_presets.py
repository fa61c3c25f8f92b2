"""Presets: known parameters only, over the defaults and under the name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from toys import toy_embeddings

import oodml
from oodml.errors import RunError, UnknownNameError
from oodml.methods import (
    METHODS,
    Budget,
    LossMethod,
    base_of,
    budget_of,
    defaults_of,
    find_method,
    find_preset,
    method_kind,
    parameters,
    preset_names,
    with_preset,
)
from oodml.sweep import RunStore, Sweep, run_sweep

PAPER = ("paper-cub200", "paper-cars196", "paper-sop")


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_sets_what_its_methods_have(name: str) -> None:
    preset = find_preset(name)
    common = parameters(find_method("margin"))
    assert preset.common.keys() <= common.keys()
    for method, values in preset.methods.items():
        assert values.keys() <= parameters(method_kind(method)()).keys(), method
        found = parameters(find_method(f"{method}@{name}"))
        assert {key: found[key] for key in values} == dict(values)
        assert {type(value) for value in found.values()} <= {int, float, bool, str}
    for method in METHODS:
        changed = {
            key
            for key, value in parameters(find_method(f"{method}@{name}")).items()
            if value != parameters(find_method(method))[key]
        }
        assert changed <= {*preset.common, *preset.parameters(method)}
    assert parameters(find_method(f"frozen@{name}")) == {}


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_settings_are_those_of_its_study(name: str) -> None:
    """facts: Milbich et al., NeurIPS 2021, the study's scripts."""
    for method in ("margin", "multisimilarity", "arcface", "proxyanchor", "rmargin"):
        found = parameters(find_method(f"{method}@{name}"))
        assert (found["dim"], found["lr"], found["weight_decay"]) == (512, 1e-5, 4e-4)
    margin = find_method(f"margin@{name}")
    assert (margin.beta, margin.beta_lr, margin.margin) == (1.2, 5e-4, 0.2)  # type: ignore[attr-defined]
    rmargin = find_method(f"rmargin@{name}")
    expected = {"paper-cub200": (0.6, 0.4), "paper-cars196": (0.6, 0.35), "paper-sop": (0.9, 0.15)}
    assert (rmargin.beta, rmargin.rho) == expected[name]  # type: ignore[attr-defined]
    warm = find_method(f"proxyanchor@{name}").warmup  # type: ignore[attr-defined]
    assert warm == (1 if name == "paper-sop" else 0)
    budget = find_preset(name).budget
    assert budget is not None
    assert (budget.batch, budget.per_class, budget.replacement) == (112, 2, True)
    assert budget.epochs == (150 if name == "paper-sop" else 200)
    assert budget.steps_on(5864) == budget.epochs * (5864 // 112)


def test_a_name_goes_over_its_preset() -> None:
    method = find_method("margin@paper-cub200?lr=0.5")
    assert (method.lr, method.weight_decay) == (0.5, 4e-4)  # type: ignore[attr-defined]
    assert find_method("margin", "full").lr == 1e-5  # type: ignore[attr-defined]
    assert find_method("margin@paper-sop", "full").beta_lr == 5e-4  # type: ignore[attr-defined]
    assert defaults_of("margin+sec", "full")["sec"] == 1.0
    assert with_preset("margin?lr=0.5", "full") == "margin@full?lr=0.5"
    assert with_preset("margin@paper-sop", "full") == "margin@paper-sop"
    assert with_preset("margin", None) == "margin"
    assert base_of("margin+l2+sec") == "margin"
    with pytest.raises(UnknownNameError, match="'papr-sop' is no preset; nearest: paper-sop"):
        find_method("margin@papr-sop")
    with pytest.raises(UnknownNameError, match=r"takes parameters only.* or a preset"):
        find_method("margin:full")


def test_protocols_have_budgets_and_refuse_what_they_cannot_train() -> None:
    assert budget_of("head") == Budget()
    assert budget_of("full").batch == 112
    with pytest.raises(
        UnknownNameError, match="settings for cub200, cars196, sop, not for 'glyphs'"
    ):
        budget_of("paper", "glyphs")

    class OnViews(LossMethod):
        name = "on-views"
        needs = "views"

    registered = dict(METHODS._members)
    METHODS._members["on-views"] = OnViews
    try:
        with pytest.raises(RunError, match="on-views needs images, and protocol head has only"):
            Sweep(("on-views",))
    finally:
        METHODS._members.clear()
        METHODS._members.update(registered)


def test_runs_say_their_preset(tmp_path: Path) -> None:
    vectors = toy_embeddings(12)
    sequence = oodml.build_splits(vectors, levels=2)
    short = Budget(steps=2, batch=8, per_class=2)
    methods = ("margin?dim=4", "margin@full?dim=4", "frozen@full")
    sweep = Sweep(methods, (0,), budget=short)
    cards = run_sweep(vectors, sequence, sweep, RunStore(tmp_path / "runs"))
    assert {card.method for card in cards} == {"margin?dim=4", "margin@full?dim=4", "frozen"}
    specs = sweep.specs(vectors, sequence)
    assert {spec.preset for spec in specs} == {None, "full"}
    # What a protocol implies is known by the protocol.
    full = replace(sweep, protocol="full", methods=("margin",)).specs(vectors, sequence)
    assert {spec.method_label("full") for spec in full} == {"margin"}
    assert {spec.parameters["lr"] for spec in full} == {1e-5}


def test_names_that_say_the_same_are_one_run(tmp_path: Path) -> None:
    vectors = toy_embeddings(12)
    sequence = oodml.build_splits(vectors, levels=2)
    names = ("margin?dim=4", "margin?dim=4&beta=1.2", "margin+sec+l2?dim=4", "margin+l2+sec?dim=4")
    sweep = Sweep(names, (0,), budget=Budget(steps=1, batch=8, per_class=2))
    assert len(sweep.specs(vectors, sequence)) == 2 * len(sequence.splits)
    cards = run_sweep(vectors, sequence, sweep, RunStore(tmp_path))
    assert len(oodml.build_curves(cards)) == 2


def test_presets_of_the_same_protocol_are_told_apart() -> None:
    vectors = replace(toy_embeddings(12), dataset="cars196")
    sequence = oodml.build_splits(vectors, levels=2)
    specs = Sweep(("rmargin", "rmargin@paper-cub200"), (0,), "paper").specs(vectors, sequence)
    labels = {spec.method_label("paper-cars196"): spec.parameters["rho"] for spec in specs}
    assert labels == {"rmargin": 0.35, "rmargin@paper-cub200": 0.4}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("margin@", "takes parameters only"),
        ("margin?steps=-5", "Parameter steps of 'margin' is -5; expected at least 0"),
        ("margin?hidden=-1", "Parameter hidden of 'margin' is -1"),
        ("margin?weight_decay=-1", "Parameter weight_decay of 'margin' is -1"),
        ("margin+sec?sec_rho=0", r"sec_rho of 'margin.sec' is 0.0; expected above 0, at most 1"),
        ("margin+sec?sec_rho=5", "expected above 0, at most 1"),
        ("proxyanchor?form=x", "Parameter form of 'proxyanchor' is 'x'; expected one of"),
    ],
)
def test_parameters_that_make_no_sense(name: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        find_method(name)


@pytest.mark.parametrize("options", [{"steps": 0}, {"batch": 1}, {"check": 0}, {"epochs": -1}])
def test_a_budget_of_nothing_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(RunError, match=r"The budget's .* expected"):
        Budget(**options)
