"""Finding a PYTHON task's function, giving it its arguments by name, and turning what it returns into outputs.

The worker process loads this, so it imports only the standard library and msgspec, the heavy parts of it lazily.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FunctionType, ModuleType

import msgspec

_ANY_OBJECT = msgspec.json.Decoder(dict[str, object])
_ENCODER = msgspec.json.Encoder()
_VAR_KEYWORDS = 0x08


class InvalidCallError(Exception):
    """The function cannot be called like this; the text is the sentence for the user."""


class TooLargeError(Exception):
    """What the function returned is larger than outputs may be."""


class Function:
    """A loaded function.

    Attributes:
        name: As the task names it, ``package.module:name``.
        call: Takes the variables (a JSON object), returns what the function returns.
    """

    __slots__ = ("call", "name")

    def __init__(self, target: Callable[..., object], name: str) -> None:
        self.name = name
        self.call: Callable[[bytes], object] = _without_arguments(target) or _Binder(target, name)


def load(name: str) -> Function:
    """Imports the function ``package.module:name``; the name may have dots.

    Raises:
        InvalidCallError: The name is not of that form, or there is no such module or function.
        Exception: Whatever the module raises when it is imported.
    """
    module_name, separator, attribute = name.partition(":")
    if not separator or not module_name or not attribute:
        raise InvalidCallError(f"function must read package.module:name, not {name!r}.")
    found: object = _module(module_name)
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise InvalidCallError(f"The module {module_name} has no function {attribute}.") from None
    if not isinstance(found, FunctionType):
        found = getattr(found, "__wrapped__", found)
    if not callable(found):
        raise InvalidCallError(f"{name} is a {type(found).__name__} and cannot be called.")
    return Function(found, name)


def _module(name: str) -> ModuleType:
    import importlib

    for attempt in (1, 2):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if name != missing and not name.startswith(missing + "."):
                raise
            if attempt == 1:
                importlib.invalidate_caches()
    folders = ", ".join(folder for folder in sys.path if folder and not folder.endswith(".zip"))
    raise InvalidCallError(f"There is no module {name} on this ant (searched {folders}); see --path.")


def _without_arguments(target: Callable[..., object]) -> Callable[[bytes], object] | None:
    """Returns the caller of a plain function without parameters, None if it has any."""
    if not isinstance(target, FunctionType) or hasattr(target, "__wrapped__"):
        return None
    code = target.__code__
    if code.co_argcount or code.co_kwonlyargcount or code.co_flags & _VAR_KEYWORDS:
        return None
    return lambda variables: target()


class _Binder:
    """Calls a function with the variables that its parameters name, each checked against its type hint.

    The arguments are decoded in one go straight from the JSON; only when that fails are they looked at one by one, to
    convert texts (``"5"`` for an ``int``) or to say which one is wrong.
    """

    def __init__(self, target: Callable[..., object], name: str) -> None:
        import inspect

        self._target = target
        self._name = name
        self._hints: dict[str, object] = {}
        self._required: set[str] = set()
        self._positional: list[str] = []
        self._extra = False
        hints = _type_hints(target)
        for parameter in inspect.signature(target).parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                self._extra = True
            elif parameter.kind is not parameter.VAR_POSITIONAL:
                self._hints[parameter.name] = hints.get(parameter.name, object)
                if parameter.default is parameter.empty:
                    self._required.add(parameter.name)
                if parameter.kind is parameter.POSITIONAL_ONLY:
                    self._positional.append(parameter.name)
        self._decoder = None if self._extra else self._struct_decoder()

    def __call__(self, variables: bytes) -> object:
        return self._call(self._arguments(variables or b"{}"))

    def _call(self, arguments: dict[str, object]) -> object:
        if not self._positional:
            return self._target(**arguments)
        positional = []
        for name in self._positional:
            if name not in arguments:
                break
            positional.append(arguments.pop(name))
        return self._target(*positional, **arguments)

    def _struct_decoder(self) -> msgspec.json.Decoder[msgspec.Struct] | None:
        from typing import Union

        fields: list[tuple[str, object, object] | tuple[str, object]] = []
        for name, hint in self._hints.items():
            if name in self._required:
                fields.append((name, hint))
            else:
                fields.append((name, Union[hint, msgspec.UnsetType], msgspec.UNSET))  # noqa: UP007 (hints may be strings)
        try:
            struct = msgspec.defstruct("Arguments", fields, kw_only=True)
            return msgspec.json.Decoder(struct)
        except (TypeError, NameError):
            return None

    def _arguments(self, variables: bytes) -> dict[str, object]:
        if self._decoder is not None:
            try:
                arguments = msgspec.structs.asdict(self._decoder.decode(variables))
            except (msgspec.ValidationError, NotImplementedError):
                pass
            else:
                if len(arguments) == len(self._required):
                    return arguments
                return {name: value for name, value in arguments.items() if value is not msgspec.UNSET}
        return self._one_by_one(_ANY_OBJECT.decode(variables))

    def _one_by_one(self, variables: dict[str, object]) -> dict[str, object]:
        arguments: dict[str, object] = dict(variables) if self._extra else {}
        wrong: list[str] = []
        for name, hint in self._hints.items():
            if name in variables:
                try:
                    arguments[name] = _convert(variables[name], hint)
                except (msgspec.ValidationError, TypeError, ValueError) as error:
                    wrong.append(f"the argument {name!r} is not what its type hint says: {error}")
            elif name in self._required:
                wrong.append(f"the argument {name!r} is required and no variable has that name")
        if wrong:
            raise InvalidCallError(f"{self._name} cannot be called: {'; '.join(wrong)}.")
        return arguments


def _type_hints(target: Callable[..., object]) -> dict[str, object]:
    import typing

    try:
        return typing.get_type_hints(target)
    except (NameError, TypeError, AttributeError):
        return {k: v for k, v in getattr(target, "__annotations__", {}).items() if not isinstance(v, str)}


def _convert(value: object, hint: object) -> object:
    if hint is object:
        return value
    try:
        return msgspec.convert(value, hint, dec_hook=_custom)
    except msgspec.ValidationError:
        return msgspec.convert(value, hint, strict=False, dec_hook=_custom)


def _custom(kind: type, value: object) -> object:
    import os

    if issubclass(kind, os.PathLike) and isinstance(value, str):
        return kind(value)  # type: ignore[call-arg]  # a path takes its text
    raise ValueError(f"a value cannot be made a {getattr(kind, '__name__', kind)} from JSON")


def to_outputs(value: object, max_bytes: int) -> bytes:
    """Turns what a function returned into the JSON object of outputs.

    A dict is the outputs, None is none, anything else is the output ``result``.

    Raises:
        InvalidCallError: It holds something that is not a JSON value.
        TooLargeError: It is larger than ``max_bytes``.
    """
    if value is None:
        return b""
    if isinstance(value, msgspec.Struct) or hasattr(type(value), "__dataclass_fields__"):
        value = msgspec.to_builtins(value)
    if type(value) is not str and type(value) is not int and type(value) is not bool:
        _check(value, "the result", 0)
    try:
        encoded = _ENCODER.encode(value if isinstance(value, dict) else {"result": value})
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidCallError(f"What it returned cannot be written as JSON: {error}.") from None
    if len(encoded) > max_bytes:
        raise TooLargeError(f"What it returned is {len(encoded):,} bytes of JSON; at most {max_bytes:,} are allowed.")
    return encoded


def _check(value: object, where: str, depth: int) -> None:
    """Refuses what JSON does not know, with the place where it stands."""
    if depth > 200:
        raise InvalidCallError("What it returned is nested more than 200 deep.")
    if value is None or isinstance(value, (str, bool, int)):
        return
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise InvalidCallError(f"It returned {value} in {where}, which JSON cannot hold.")
        return
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check(item, f"{where}[{index}]", depth + 1)
        return
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidCallError(f"It returned a dict with the key {key!r} in {where}; keys must be str.")
            _check(item, f"{where}.{key}", depth + 1)
        return
    raise InvalidCallError(
        f"It returned a {type(value).__name__} in {where}; only JSON values (dict, list, str, int, float, bool, None)"
        " can be returned."
    )
