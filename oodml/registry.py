"""Names, and what they stand for.

A name is `key`, `key:argument`, `key@argument`, each optionally with `?parameter=value&...`. The
key is looked up in a `Registry`: a literal dict in the module that owns the kind, then the entry
points `oodml.<kind>` of installed packages, then the files that `load_plugin` was given.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import math
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar
from urllib.parse import unquote

from oodml.errors import FormatError, UnknownNameError

T = TypeVar("T")
KINDS = ("datasets", "encoders", "measures", "searches", "metrics", "methods")
_KEY = re.compile(r"[^:@?]+")
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
    """A read-only mapping of names; a key that it lacks is looked up in the plug-ins."""

    def __init__(self, kind: str, members: Mapping[str, T]) -> None:
        self.kind = kind
        self._members = dict(members)

    def __getitem__(self, key: str) -> T:
        plug_ins = self._plug_ins()  # also where the name is our own: it must not be taken twice
        if key in self._members:
            return self._members[key]
        if key in plug_ins:
            return plug_ins[key]()  # type: ignore[no-any-return]
        raise UnknownNameError(self._unknown(key))

    def __contains__(self, key: object) -> bool:
        return key in self._members or key in self._plug_ins()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._members, *self._plug_ins()}))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _plug_ins(self) -> dict[str, Callable[[], Any]]:
        """What loads each member that is not our own; raises where a name is taken twice."""
        homes = dict.fromkeys(self._members, "oodml")
        found: dict[str, Callable[[], Any]] = {}
        for name, home, load in (*_installed(self.kind), *_from_files(self.kind)):
            if name in homes:
                raise UnknownNameError(
                    f"The name {name!r} of {self.kind} is taken twice, by {homes[name]} and by "
                    f"{home}; rename one, or leave it out."
                )
            homes[name], found[name] = home, load
        return found

    def _unknown(self, key: str) -> str:
        return f"{key!r} is not among the {self.kind}; nearest: {', '.join(nearest(key, self))}."


def nearest(key: str, names: Iterable[str]) -> list[str]:
    """Up to three of `names` that look like `key`; all of them where none does."""
    known = {name.lower(): name for name in names}
    close = difflib.get_close_matches(key.lower(), known, n=3, cutoff=0.4)
    return [known[name] for name in close or known]


Found = Iterator[tuple[str, str, Callable[[], Any]]]  # a name, where it is from, what loads it


def _installed(kind: str) -> Found:
    for point in entry_points(group=f"oodml.{kind}"):
        yield point.name, f"the package of {point.value}", point.load


def _from_files(kind: str) -> Found:
    for plugin in _loaded.values():
        for name, member in plugin.members.get(kind, {}).items():
            yield name, str(plugin.path), partial(_itself, member)


def _itself(member: Any) -> Any:
    return member


# Plug-in files -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plugin:
    """A file of one's own: its members by kind and name, and the sha256 of its bytes."""

    path: Path
    sha256: str
    members: Mapping[str, Mapping[str, Any]]


_loaded: dict[Path, Plugin] = {}


def load_plugin(path: Path | str) -> Plugin:
    """Run a Python file and register the dicts in it that bear the name of a registry.

    Such as `datasets = {"mine": load}`, where `load(name: Name)` gives a `Dataset`, or `methods =
    {"mine": Mine}`. The file stands alone: it can import what is installed, not its neighbours.
    Loaded again it is left as it is, or where it was changed takes the place of what it was. Raises
    `FormatError` where it is no plug-in, `UnknownNameError` where another one has a name of it.
    """
    path = Path(path).expanduser().resolve()  # one file, one plug-in
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise FormatError(f"{path} cannot be read ({reason}); expected a plug-in file.") from None
    sha256 = hashlib.sha256(content).hexdigest()
    if path not in _loaded or _loaded[path].sha256 != sha256:
        plugin = Plugin(path, sha256, _members(path, _run(path, content, sha256)))
        _refuse_taken(plugin)
        _loaded[path] = plugin
    return _loaded[path]


def plugins() -> tuple[Plugin, ...]:
    """The plug-in files that were loaded, in that order."""
    return tuple(_loaded.values())


def plugin_of(kind: str, name: str) -> Plugin | None:
    """The plug-in file that a member is from; None for our own and those of packages."""
    return next((p for p in _loaded.values() if name in p.members.get(kind, {})), None)


def _run(path: Path, content: bytes, sha256: str) -> ModuleType:
    """The file as a module, known to `sys.modules`, which its dataclasses need."""
    module = ModuleType(f"oodml_plugin_{sha256[:12]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    try:
        exec(compile(content, str(path), "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a file of one's own does
        del sys.modules[module.__name__]
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        line = getattr(error, "lineno", None) or (lines or [None])[-1]
        what = f"{type(error).__name__}: {getattr(error, 'msg', error)}"
        raise FormatError(
            f"The plug-in {path} cannot be loaded ({what}{f', line {line}' if line else ''}); "
            "mend it."
        ) from None
    return module


def _members(path: Path, module: ModuleType) -> dict[str, dict[str, Any]]:
    found = {}
    for kind in KINDS:
        value = getattr(module, kind, None)
        if value is None or isinstance(value, ModuleType):  # such as `from oodml import methods`
            continue
        if not isinstance(value, dict):
            raise FormatError(
                f"{path}: {kind} is a {type(value).__name__}; expected a dict of names."
            )
        for name in value:
            if not isinstance(name, str) or _KEY.fullmatch(name) is None:
                raise FormatError(
                    f"{path}: {kind} has the name {name!r}; expected text without : @ ?"
                )
        found[kind] = dict(value)
    if not any(found.values()):
        raise FormatError(
            f"{path} defines none of {', '.join(KINDS)}; expected a dict such as "
            'datasets = {"mine": load_mine}.'
        )
    return found


def _refuse_taken(plugin: Plugin) -> None:
    """Raise `UnknownNameError` where another file has a name of this one."""
    for other in (other for path, other in _loaded.items() if path != plugin.path):
        for kind, members in plugin.members.items():
            if both := sorted(members.keys() & other.members.get(kind, {}).keys()):
                raise UnknownNameError(
                    f"The name {both[0]!r} of {kind} is taken twice, by {other.path} and by "
                    f"{plugin.path}; rename one, or leave it out."
                )


# Functions of one's own: `py:module:function` ---------------------------------------------------


@contextmanager
def current_folder() -> Iterator[None]:
    """Modules of the current folder can be imported, after the installed ones."""
    here = str(Path.cwd())
    sys.path.append(here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(here)


def find_function(name: Name) -> Callable[..., Any]:
    """What `py:module:function` names; raises `UnknownNameError` saying what is wrong."""
    module, _, attribute = name.argument.partition(":")
    if name.key != "py" or not (module and attribute):
        raise UnknownNameError(
            f"{name.text!r}: expected py:MODULE:FUNCTION, as in py:mine:function."
        )
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise UnknownNameError(
                f"{name.text!r}: {module} needs {error.name}, which is not installed."
            ) from None
        raise UnknownNameError(
            f"{name.text!r}: there is no module {module!r}; expected an installed one, or "
            f"{module.replace('.', '/')}.py in {Path.cwd()}."
        ) from None
    except Exception as error:  # noqa: BLE001 - whatever a module of one's own does
        raise UnknownNameError(
            f"{name.text!r}: {module} cannot be imported ({error_line(error)}); mend it."
        ) from None
    function = getattr(found, attribute, None)
    if not callable(function):
        near = ", ".join(nearest(attribute, [key for key in vars(found) if key[0] != "_"])[:3])
        raise UnknownNameError(
            f"{name.text!r}: {module} has no function {attribute!r}; nearest: {near or 'none'}."
        )
    return function  # type: ignore[no-any-return]


def error_line(error: Exception) -> str:
    """The kind of an error and the first line of what it says."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:300]
