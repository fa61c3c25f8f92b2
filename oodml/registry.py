"""Names, and what they stand for.

A name is `key`, `key:argument`, `key@argument`, each optionally with `?parameter=value&...`. The
key is looked up in a `Registry`: a literal dict in the module that owns the kind, then the entry
points `oodml.<kind>` of installed packages.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar
from urllib.parse import unquote

from oodml.errors import UnknownNameError

T = TypeVar("T")
_NAME = re.compile(r"(?P<key>[^:@?]+)(?:[:@](?P<argument>[^?]*))?(?:\?(?P<query>.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Name:
    """A parsed name: `Name.parse("tv:resnet50?size=224")` has key `tv`, argument `resnet50`.

    A `?`, `&` or `%` that belongs to a path or a value is written `%3F`, `%26`, `%25`.
    """

    text: str
    key: str
    argument: str
    params: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Name:
        match = _NAME.fullmatch(text)
        if match is None:
            raise UnknownNameError(
                f"{text!r} is not a name; expected KEY[:ARGUMENT][?PARAM=VALUE&...]."
            )
        params = {}
        for pair in filter(None, (match["query"] or "").split("&")):
            key, equals, value = pair.partition("=")
            if not equals:
                raise UnknownNameError(
                    f"{text!r}: the part {pair!r} is not of the form PARAM=VALUE."
                )
            if key in params:
                raise UnknownNameError(f"{text!r} gives {key!r} twice; expected it once.")
            params[key] = unquote(value)
        return cls(text, match["key"], unquote(match["argument"] or ""), params)

    def resolve(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters over `defaults`, each converted to its default's type (`None`: text).

        >>> Name.parse("head?lr=0.1").resolve({"lr": 0.01, "steps": 400})
        {'lr': 0.1, 'steps': 400}
        """
        values = dict(defaults)
        for key, text in self.params.items():
            if key not in defaults:
                known = ", ".join(sorted(defaults)) or "none"
                raise UnknownNameError(
                    f"{self.text!r} has no parameter {key!r}; it takes: {known}."
                )
            values[key] = _convert(self.text, key, text, defaults[key])
        return values


def _convert(name: str, key: str, text: str, default: Any) -> Any:
    if default is None or isinstance(default, str):
        return text
    kind = type(default)
    try:
        if kind is bool:
            return {"0": False, "1": True, "false": False, "true": True}[text.lower()]
        value = kind(text)
    except (ValueError, KeyError):
        raise UnknownNameError(
            f"{name!r}: parameter {key} is {text!r}; expected a {kind.__name__} such as {default}."
        ) from None
    if kind is float and not math.isfinite(value):
        raise UnknownNameError(f"{name!r}: parameter {key} is {text!r}; expected a finite number.")
    return value


class Registry(Mapping[str, T], Generic[T]):
    """A read-only mapping of names; a key that it lacks is looked up in the installed plug-ins."""

    def __init__(self, kind: str, members: Mapping[str, T]) -> None:
        self.kind = kind
        self._members = dict(members)

    def __getitem__(self, key: str) -> T:
        plug_ins = self._plug_ins(key)  # also where the name is our own: it must not be taken twice
        if key in self._members:
            return self._members[key]
        if plug_ins:
            return plug_ins[0].load()  # type: ignore[no-any-return]
        raise UnknownNameError(self._unknown(key))

    def __contains__(self, key: object) -> bool:
        return key in self._members or bool(isinstance(key, str) and self._plug_ins(key))

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._members, *(point.name for point in self._plug_ins())}))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _plug_ins(self, key: str | None = None) -> list[Any]:
        points = list(entry_points(group=f"oodml.{self.kind}"))
        names = [point.name for point in points]
        for name in {*names}:
            if names.count(name) > 1 or name in self._members:
                raise UnknownNameError(
                    f"The name {name!r} of {self.kind} is taken twice; uninstall one of its "
                    "packages."
                )
        return [point for point in points if key is None or point.name == key]

    def _unknown(self, key: str) -> str:
        return f"{key!r} is not among the {self.kind}; nearest: {', '.join(nearest(key, self))}."


def nearest(key: str, names: Iterable[str]) -> list[str]:
    """Up to three of `names` that look like `key`; all of them where none does."""
    known = {name.lower(): name for name in names}
    close = difflib.get_close_matches(key.lower(), known, n=3, cutoff=0.4)
    return [known[name] for name in close or known]
