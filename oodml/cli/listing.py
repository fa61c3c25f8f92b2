"""`oodml list`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from oodml.cli.console import echo_json, echo_table
from oodml.cli.inputs import json_option

_EXAMPLES = {
    "datasets": {
        "csv": "csv:PATH[?name=X&root=DIR]",
        "folder": "folder:PATH[?name=X&nested=true]",
        "glyphs": "glyphs[?copies=N&seed=S&jitter=false]",
    },
    "encoders": {
        "oodml": "oodml:hog, oodml:pixels",
        "tv": "tv:resnet50[.TAG][?size=S], tv:resnet18?init=random&seed=0",
        "timm": "timm:resnet50.a1_in1k, timm:vit_small_patch14_dinov2?size=224",
        "open_clip": "open_clip:ViT-B-32/laion2b_s34b_b79k",
        "file": "file:weights.safetensors?arch=tv:mobilenet_v2&mean=0.5&std=0.5&size=224",
        "onnx": "onnx:network.onnx?size=224&mean=0.5&std=0.5",
        "py": "py:module:function[?key=value]",
    },
    "presets": {"full": "METHOD@full, such as margin@full, or --preset full"},
    "metrics": {
        "recall": "recall@k, recall@k|m (expected in a gallery of m classes)",
        "precision": "precision@k",
        "map": "map@r, map@k, map",
        "official-map": "official-map@c, official-map@1000",
        "spectral-decay": "spectral-decay, spectral-decay@k",
    },
}
# Of the weights; `oodml check` and `oodml embed --json` tell that of one encoder.
_LICENCES = {
    "oodml": "Apache-2.0",
    "tv": "BSD-3-Clause (SWAG: CC-BY-NC-4.0)",
    "timm": "(as timm says for each)",
    "open_clip": "(open_clip does not say)",
}


@click.command("list")
@click.argument(
    "kind",
    required=False,
    type=click.Choice(
        ["datasets", "encoders", "measures", "searches", "metrics", "methods", "presets"]
    ),
)
@json_option
def list_names(kind: str | None, as_json: bool) -> None:
    """List what has a name: data sets, encoders, measures, searches, metrics, methods, presets.

    \b
    Example:  oodml list methods
    """
    from oodml.data import DATASETS
    from oodml.data.facts import FACTS
    from oodml.embed import ENCODERS
    from oodml.methods import METHODS, parameters, preset_names
    from oodml.metrics import METRICS
    from oodml.metrics.structure import parameters_of
    from oodml.shift import MEASURES
    from oodml.split import SEARCHES

    registries = (DATASETS, ENCODERS, MEASURES, SEARCHES, METRICS, METHODS)
    every = {**{r.kind: list(r) for r in registries}, "presets": preset_names()}
    names = {group: every[group] for group in every if kind in (None, group)}
    if as_json:
        echo_json(names)
        return
    defaults: dict[str, dict[str, Mapping[str, Any]]] = {
        "measures": {name: MEASURES[name].parameters for name in MEASURES},
        "methods": {name: parameters(METHODS[name]()) for name in METHODS},
        "searches": {name: SEARCHES[name].options for name in SEARCHES},
        "metrics": {name: parameters_of(METRICS[name]) for name in METRICS},
        "encoders": {name: {"licence": licence} for name, licence in _LICENCES.items()},
    }
    published = {name: f"{name}[:PATH][?complete=false]" for name in FACTS}
    examples = {**_EXAMPLES, "datasets": {**published, **_EXAMPLES["datasets"]}}
    rows = [
        [group, name, examples.get(group, {}).get(name, name), _text(defaults, group, name)]
        for group, members in names.items()
        for name in members
    ]
    echo_table(["what", "name", "as", "parameters"], rows)


def _text(defaults: Mapping[str, Mapping[str, Mapping[str, Any]]], group: str, name: str) -> str:
    """The parameters of a member with their defaults."""
    values = defaults.get(group, {}).get(name, {})
    return " ".join(f"{key}={value}" for key, value in values.items())
