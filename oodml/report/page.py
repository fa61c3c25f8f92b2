"""Curves as one HTML page that needs nothing else: no script, no other file, no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, Unpack

import numpy as np

from oodml.curve import REFERENCE, Comparison, Curve, labels, sign_of
from oodml.plot import AXES, metric_label, value_label
from oodml.report.table import (
    control_table,
    difference_table,
    order_text,
    summary_table,
    text_table,
)

_SIMILARITIES = {
    "cosine": "cosine similarity",
    "dot": "dot product",
    "euclidean": "Euclidean distance",
}


class Origin(TypedDict, total=False):
    """Where curves come from: the splits, and the commands that made the results."""

    splits: Sequence[Mapping[str, Any]]
    commands: Sequence[str]


def build_page(
    curves: Sequence[Curve],
    comparison: Comparison | None = None,
    *,
    title: str,
    summary: Mapping[str, str],
    svg: str,
    **origin: Unpack[Origin],
) -> str:
    """The report of some curves of one sequence as a page of HTML; the same input, the same bytes.

    `comparison` is that of the same methods. `summary` are facts to list (data set, encoder, ...),
    `svg` is the figure and goes in as it is, `splits` are dicts with `rank`, `shift`, `n_train` and
    `n_test`, `commands` made the results.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    start = svg.find("<svg")
    order = comparison.order if comparison else None
    if not curves or start < 0:
        raise ValueError("A report needs at least one curve, and its figure as SVG.")
    header, *rows, areas = text_table(curves, origin.get("splits", ()))
    environment = Environment(
        loader=PackageLoader("oodml.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("page.html.j2").render(
        title=title,
        lead=_lead(curves),
        summary=summary,
        svg=Markup(svg[start:]),
        figure_text=_figure_text(curves),
        header=header,
        rows=rows,
        areas=areas,
        controls=control_table(curves),
        sums=summary_table(curves, comparison),
        differences=difference_table(comparison) if comparison and comparison.differences else [],
        order=order_text(order) if order else "",
        terms=sorted({curve.terms for curve in curves if curve.terms}),
        notes=[(n, c.note) for n, c in zip(labels(curves), curves, strict=True) if c.note],
        metric=_meaning(curves[0].metric, curves[0].similarity),
        axis=curves[0].axis,
        sequence=curves[0].sequence[:12],
        commands=origin.get("commands", ()),
    )


def _lead(curves: Sequence[Curve]) -> str:
    """One sentence: what falls from where to where as the test classes get farther away."""
    named = list(zip(labels(curves), curves, strict=True))
    frozen = [pair for pair in named if pair[1].method == REFERENCE]
    pool = [pair for pair in named if pair[1].method != REFERENCE] or frozen
    name, best = _best(pool)
    praise = f" ({_most(best)} AGS)" if len(pool) > 1 and best.ags is not None else ""
    paths = [f"{name}{praise} {_path(best)}"]
    if len(frozen) == 1 and pool is not frozen:
        paths.append(f"the frozen encoder {_path(frozen[0][1])}")
    metric = value_label(curves[0])
    return f"{metric} on classes that were not trained on, from near to far: {'; '.join(paths)}."


def _best(pool: Sequence[tuple[str, Curve]]) -> tuple[str, Curve]:
    whole = [pair for pair in pool if pair[1].ags is not None]
    if len(whole) < 2:
        return (whole or pool)[0]
    return max(whole, key=lambda pair: sign_of(pair[1].metric) * (pair[1].ags or 0.0))


def _most(curve: Curve) -> str:
    return "highest" if sign_of(curve.metric) > 0 else "lowest"


def _path(curve: Curve) -> str:
    if len(curve.ranks) < 2:
        return f"reaches {curve.mean[0]:.3f}"
    verb = "falls" if curve.mean[-1] < curve.mean[0] else "goes"
    return f"{verb} from {curve.mean[0]:.3f} to {curve.mean[-1]:.3f}"


def _figure_text(curves: Sequence[Curve]) -> str:
    metric = value_label(curves[0])
    none = all(np.isnan(curve.low).all() for curve in curves)
    intervals = "" if none else " with 95 % intervals"
    axis = AXES[curves[0].axis].lower()
    text = f"{metric} against {axis}{intervals}, {curves[0].dataset}; each mark is a split. "
    chance = np.concatenate([curve.chance for curve in curves])
    if np.isnan(chance).any():
        return text.strip()
    low, high = f"{chance.min():.3f}", f"{chance.max():.3f}"
    return f"{text}Chance: {low if low == high else f'{low} to {high}'}."


def _meaning(metric: str, similarity: str) -> str:
    """What a metric is, as the predicate of a sentence."""
    name, _, k = metric.partition("@")
    if name != "recall" or not k.isdigit():
        return f"{metric_label(metric)} is computed over all test images"
    by = _SIMILARITIES.get(similarity, similarity)
    nearest = "whose nearest other image is" if k == "1" else f"with one of the {k} nearest others"
    return (
        f"{metric_label(metric)} is the share of the test images {nearest} of the same class, "
        f"by {by}; ties count against the model"
    )
