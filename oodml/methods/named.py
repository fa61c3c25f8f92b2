"""Methods by name: `margin`, `margin?beta=1.0`, `margin+sec?sec=0.5`."""

from __future__ import annotations

from dataclasses import field, make_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from oodml.errors import UnknownNameError
from oodml.methods.lossmethod import LossMethod
from oodml.methods.method import Method, check_positive, parameters
from oodml.methods.presets import find_preset
from oodml.methods.registered import METHODS
from oodml.registry import Name

if TYPE_CHECKING:
    import torch

    from oodml.methods.lossmethod import Loss

NORMS: dict[str, dict[str, Any]] = {
    "l2": {"l2": 1e-4},
    "sec": {"sec": 1.0, "sec_rho": 1.0, "sec_ramp": False},
}


def find_method(name: str, preset: str | None = None) -> Method:
    """The method of a name such as `frozen`, `margin+sec?sec=0.5` or `margin@paper-cub200`.

    What the name says goes over what its preset says (`preset` where it names none), and that over
    the method's own defaults.
    """
    parsed = Name.parse(name)
    kind = method_kind(parsed.key)
    method = kind(**parsed.resolve(defaults_of(parsed.key, preset_in(name) or preset)))
    if method.name != _canonical(parsed.key):  # it is known by its own name in runs and cards
        raise UnknownNameError(
            f"The method {parsed.key!r} of a plug-in has the name {method.name!r}; expected the "
            "name that it is registered by."
        )
    return method


def preset_in(name: str) -> str | None:
    """The preset that a name asks for: what stands after `@`."""
    parsed = Name.parse(name)
    mark = parsed.text[len(parsed.key) : len(parsed.key) + 1]
    if mark in ("", "?"):
        return None
    if mark != "@" or not parsed.argument:
        raise UnknownNameError(
            f"{name!r}: method {parsed.key!r} takes parameters only, as in {parsed.key}?key=value, "
            f"or a preset, as in {parsed.key}@full."
        )
    return find_preset(parsed.argument).name


def with_preset(name: str, preset: str | None) -> str:
    """A method's name with `@preset`, where it has none of its own."""
    if preset is None or preset_in(name) is not None:
        return name
    key, mark, query = name.partition("?")
    return f"{key}@{find_preset(preset).name}{mark}{query}"


def defaults_of(key: str, preset: str | None = None) -> dict[str, Any]:
    """The parameters of a method, with those of a preset over its own."""
    own = parameters(method_kind(key)())
    given = find_preset(preset).parameters(_canonical(key)) if preset else {}
    return {**own, **{k: type(own[k])(value) for k, value in given.items() if k in own}}


def method_kind(key: str) -> type[Method]:
    """The class of a method, its parameters those of the loss and of the constraints on norms.

    `+l2` adds `l2` times the mean squared norm of the embeddings (Sohn, NIPS 2016), `+sec` adds
    `sec` times the variance of their norms (Zhang et al., NeurIPS 2020, equation 17).
    """
    base, *norms = key.split("+")
    kind = METHODS[base]
    if not norms:
        return kind
    if not {*norms} <= {*NORMS} or len({*norms}) < len(norms):
        raise UnknownNameError(
            f"{key!r}: expected a method with +l2, +sec or both, each once, as in margin+sec."
        )
    if not (isinstance(kind, type) and issubclass(kind, LossMethod) and kind.raw):
        raise UnknownNameError(
            f"{key!r}: {base!r} shows no un-normalised embeddings, whose norms +{norms[0]} is "
            "about; add it to a method on a loss, such as margin."
        )
    return _constrained(base, kind, tuple(sorted(norms)))  # type: ignore[arg-type]


def base_of(key: str) -> str:
    """The name that a method is registered by: `margin` of `margin+sec`."""
    return key.partition("+")[0]


def _canonical(key: str) -> str:
    base, *norms = key.split("+")
    return "+".join([base, *sorted(norms)])


@cache
def _constrained(base: str, kind: type[LossMethod], norms: tuple[str, ...]) -> type[Method]:
    """A dataclass of the method with the parameters of the constraints after its own."""
    added = [
        (name, type(value), field(default=value))
        for norm in norms
        for name, value in NORMS[norm].items()
    ]
    inner = kind.loss

    def loss(self: Any, classes: int, draws: torch.Generator) -> Loss:
        from oodml.methods.losses.norms import L2, Sec, WithNorms

        return WithNorms(
            inner(self, classes, draws),  # type: ignore[arg-type]
            l2=L2(self.l2, ramp=False) if "l2" in norms else None,
            sec=Sec(self.sec, rho=self.sec_rho, ramp=self.sec_ramp) if "sec" in norms else None,
        )

    def check(self: Any) -> None:
        kind.__post_init__(self)
        check_positive(self, *norms)
        if "sec" in norms and not 0 < self.sec_rho <= 1:
            raise UnknownNameError(
                f"Parameter sec_rho of {self.name!r} is {self.sec_rho}; expected above 0, at most "
                "1."
            )

    return make_dataclass(
        kind.__name__ + "".join(norm.capitalize() for norm in norms),
        added,
        bases=(kind,),
        namespace={
            "name": "+".join([base, *norms]),
            "loss": loss,
            "__post_init__": check,
            "__doc__": kind.__doc__,
        },
        frozen=True,
        slots=True,
    )
