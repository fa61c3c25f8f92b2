"""What parameters of a method may be."""

from __future__ import annotations

from oodml.errors import UnknownNameError
from oodml.methods.method import Method


def check_not_negative(method: Method, *names: str) -> None:
    """Raise `UnknownNameError` where a parameter is below 0."""
    for name in names:
        value = getattr(method, name)
        if not value >= 0:
            raise UnknownNameError(
                f"Parameter {name} of {method.name!r} is {value}; expected at least 0."
            )


def check_between(method: Method, name: str, low: float, high: float) -> None:
    """Raise `UnknownNameError` where a parameter is outside [low, high)."""
    value = getattr(method, name)
    if not low <= value < high:
        raise UnknownNameError(
            f"Parameter {name} of {method.name!r} is {value}; expected at least {low:g} and less "
            f"than {high:g}."
        )


def check_choice(method: Method, name: str, choices: tuple[str, ...]) -> None:
    """Raise `UnknownNameError` where a parameter is not one of the choices."""
    value = getattr(method, name)
    if value not in choices:
        raise UnknownNameError(
            f"Parameter {name} of {method.name!r} is {value!r}; expected one of: "
            f"{', '.join(choices)}."
        )
