"""Settings by cattrs, collaborators by annotation: a section of forge.yaml and a class become a live driver."""

from __future__ import annotations

import difflib
import inspect
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
import cattrs
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError

from forge_core.faults import ConfigError, ForgeError
from forge_core.records.data import JSON
from forge_core.references import Place, Resolved, dotted, interpolate

T = TypeVar("T")


def _scalar(kind: type, also: tuple[type, ...] = ()) -> Callable[[Any, Any], Any]:
    """cattrs alone reads the text "false" as True and 1.9 as 1."""

    def structure(value: Any, _kind: Any) -> Any:
        if kind is not str and isinstance(value, str) and "${" in value:
            value = interpolate(value)
        if isinstance(value, Resolved) and kind is not str:
            try:
                return _TRUTH[value.lower()] if kind is bool else kind(value)
            except (KeyError, ValueError):
                raise TypeError(f"expected {_NAMES[kind]}, got {_said(value)}") from None
        if type(value) is kind or (isinstance(value, (kind, *also)) and not isinstance(value, bool)):
            return str(value) if kind is str else kind(value)
        raise TypeError(f"expected {_NAMES[kind]}, got {_said(value)}")

    return structure


_TRUTH = {"true": True, "false": False}
_NAMES: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _said(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Resolved):
        return "something else from ${...}"  # which may be a secret
    if isinstance(value, str | int | float):
        return f"{value!r}"
    return "a list" if isinstance(value, Sequence) else "a mapping" if isinstance(value, Mapping) else type(value).__name__


def _sequence(hint: Any) -> Callable[[Any, Any], tuple[Any, ...]]:
    """cattrs alone reads `accuracy` as a tuple of eight letters."""
    inner = get_args(hint)[0] if get_args(hint) else Any

    def structure(value: Any, _kind: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise TypeError(f"expected a list, got {_said(value)}")
        return tuple(made for _, made in _each(enumerate(value), inner, hint))

    return structure


def _each(items: Iterable[tuple[Any, Any]], inner: Any, hint: Any) -> list[tuple[Any, Any]]:
    """(key, item as `inner`) of a list's or a mapping's items; the errors of all of them, each with its key."""
    made, errors = [], []
    for key, item in items:
        try:
            made.append((key, _CONVERTER.structure(item, inner)))
        except Exception as error:
            error.__notes__ = [cattrs.IterableValidationNote(f"at {key}", key, inner)]
            errors.append(error)
    if errors:
        raise IterableValidationError("items", errors, hint)
    return made


def _literal(value: Any, kind: Any) -> Any:
    known = get_args(kind)
    if value in known and (isinstance(value, Resolved) or type(value) in {type(one) for one in known}):
        return value
    near = difflib.get_close_matches(str(value), [str(one) for one in known], 1) if not isinstance(value, Resolved) else []
    raise TypeError(f"expected one of {', '.join(map(str, known))}, got {_said(value)}" + (f"; did you mean {near[0]!r}?" if near else ""))


def _mapping(hint: Any) -> Callable[[Any, Any], dict[str, Any]]:
    inner = get_args(hint)[1] if get_args(hint) else Any

    def structure(value: Any, _kind: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise TypeError(f"expected a mapping, got {_said(value)}")
        return dict(_each(((str(key), item) for key, item in value.items()), inner, hint))

    return structure


def _optional(hint: Any) -> Callable[[Any, Any], Any]:
    inner = [one for one in get_args(hint) if one is not type(None)]

    def structure(value: Any, _kind: Any) -> Any:
        if value is None and len(inner) < len(get_args(hint)):
            return None
        failures: list[Exception] = []
        for one in inner:
            try:
                return _CONVERTER.structure(value, one)
            except Exception as error:
                failures.append(error)
        raise failures[0]

    return structure


def _record(value: Any, kind: Any) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"expected a mapping, got {_said(value)}")


def _of(*origins: object) -> Callable[[Any], bool]:
    return lambda hint: any(get_origin(hint) is origin for origin in origins)


def _made() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    for kind, also in ((bool, ()), (int, ()), (float, (int,)), (str, ())):
        converter.register_structure_hook(kind, _scalar(kind, also))
    converter.register_structure_hook_factory(_of(tuple, list, Sequence), _sequence)
    converter.register_structure_hook_factory(_of(dict, Mapping), _mapping)
    converter.register_structure_hook_factory(_of(Union, types.UnionType), _optional)
    converter.register_structure_hook_func(_of(Literal), _literal)
    converter.register_structure_hook_func(lambda hint: hint is Any or hint is object, lambda value, _: value)
    plain = converter.gen_structure_attrs_fromdict

    def record(cls: type) -> Callable[[Any, Any], Any]:
        inner: Callable[[Any, Any], Any] = plain(cls)

        def structure(value: Any, kind: Any) -> Any:
            _record(value, kind)
            return inner(value, kind)

        return structure

    converter.register_structure_hook_factory(attrs.has, record)
    return converter


_CONVERTER = _made()


def structure(data: JSON, cls: type[T], where: Place = (), locate: Callable[[Place], str] = dotted) -> T:
    """Data from forge.yaml as a record; strict, and an error names every wrong place, unknown keys first."""
    try:
        return _CONVERTER.structure(data, cls)
    except (ClassValidationError, IterableValidationError, TypeError, ValueError) as error:
        found = sorted(_explain(error, where), key=lambda one: not one[1].startswith("unknown key"))
        lines = [f"{locate(place)}: {cause}" for place, cause, _ in found]
        raise ConfigError("\n".join(lines), next((remedy for _, _, remedy in found if remedy), "forge config schema")) from error


def _explain(error: BaseException, place: Place) -> Iterator[tuple[Place, str, str]]:
    """Walk cattrs' tree of errors to (place, cause, remedy)."""
    if isinstance(error, ClassValidationError | IterableValidationError):
        noted, plain = error.group_exceptions()
        for inner, note in noted:
            yield from _explain(inner, (*place, getattr(note, "name", getattr(note, "index", ""))))
        for bare in plain:
            yield from _explain(bare, place)
    elif isinstance(error, ForbiddenExtraKeysError):
        known = [one.alias for one in attrs.fields(error.cl) if one.alias is not None]
        for key in sorted(error.extra_fields):
            near = difflib.get_close_matches(key, known, 1)
            yield (*place, key), f"unknown key {key!r}", f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
    elif isinstance(error, KeyError):
        yield place, f"{error.args[0]!r} is missing", f"add {error.args[0]}"
    else:
        yield place, str(error), ""


def settings_class(cls: type) -> type | None:
    """The Settings a driver's `__init__` asks for, or None."""
    return _hints(cls).get("settings")


def _hints(cls: type) -> dict[str, Any]:
    if cls.__init__ is object.__init__:  # type: ignore[misc]
        return {}
    names: dict[str, Any] = {}
    for base in reversed(cls.__mro__):  # or a nested `Settings` silently becomes the module's
        names.update(vars(base))
    try:
        return get_type_hints(cls.__init__, localns=names)  # type: ignore[misc]
    except NameError as error:
        raise ConfigError(
            f"{cls.__module__}.{cls.__qualname__}.__init__ is annotated with {error.name!r}, which does not exist at run time",
            "import it outside `if TYPE_CHECKING`",
        ) from error


def build(
    cls: type[T],
    section: Mapping[str, JSON],
    resolve: Callable[[Any, bool], Any],
    where: Place = (),
    locate: Callable[[Place], str] = dotted,
) -> T:
    """`cls(settings, collaborator=...)`: what `__init__` is annotated with, it gets; `resolve(annotation, optional)` finds it."""
    hints = _hints(cls)
    given: dict[str, Any] = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        hint = hints.get(name)
        if hint is None:
            raise ConfigError(f"{cls.__qualname__}.__init__ does not say what {name!r} is", "annotate it with a contract or a resource")
        if name == "settings":
            given[name] = structure(dict(section), hint, where, locate)
            continue
        union = get_origin(hint) in (Union, types.UnionType)
        optional = union and type(None) in get_args(hint)
        kind = next(one for one in get_args(hint) if one is not type(None)) if union else hint
        found = resolve(kind, optional)
        if found is None and not optional:
            raise ForgeError(f"nothing is configured for {name!r} of {cls.__qualname__}", "")
        given[name] = found
    if "settings" not in given and section:
        key = next(iter(section))
        raise ConfigError(f"{locate((*where, key))}: {cls.__qualname__} has no settings", f"take {key!r} out")
    return cls(**given)
