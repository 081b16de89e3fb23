"""Columns of row images as PostgreSQL arrays in the binary format.

psycopg's own list adapter looks at every element and refuses a float column that holds an int; a column here has one
type, so packing it is a few lines and several times faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from struct import Struct, error, pack
from typing import ClassVar, Final

from psycopg.adapt import Dumper
from psycopg.pq import Format

from formicary.engine.storage.port import Scalar

_NULL: Final = pack("!i", -1)
_LENGTH: Final = Struct("!i")


class _Array:
    """One column of a batch, packed."""

    __slots__ = ("data",)

    array_oid: ClassVar[int]
    element_oid: ClassVar[int]

    def __init__(self, values: Sequence[Scalar]) -> None:
        nulls = None in values
        header = pack("!iiIii", 1, int(nulls), self.element_oid, len(values), 1)
        self.data = header + self._pack(values, nulls)

    @classmethod
    def _pack(cls, values: Sequence[Scalar], nulls: bool) -> bytes:
        raise TypeError(f"{cls.__name__} packs nothing")


class _FixedArray(_Array):
    """Elements of 8 bytes."""

    __slots__ = ()

    code: ClassVar[str]

    @classmethod
    def _pack(cls, values: Sequence[Scalar], nulls: bool) -> bytes:
        if not nulls:
            pairs = chain.from_iterable((8, value) for value in values)
            return pack("!" + f"i{cls.code}" * len(values), *pairs)
        one = Struct(f"!i{cls.code}").pack
        return b"".join([_NULL if value is None else one(8, value) for value in values])


class _BytesArray(_Array):
    """Elements of any length."""

    __slots__ = ()

    @staticmethod
    def _bytes(value: Scalar) -> bytes:
        if not isinstance(value, bytes):
            raise TypeError(f"bytes expected, not {value!r}")
        return value

    @classmethod
    def _pack(cls, values: Sequence[Scalar], nulls: bool) -> bytes:
        length, parts = _LENGTH.pack, []
        for value in values:
            if value is None:
                parts.append(_NULL)
            else:
                data = cls._bytes(value)
                parts += (length(len(data)), data)
        return b"".join(parts)


class IntArray(_FixedArray):
    """A ``bigint[]``."""

    __slots__ = ()
    array_oid, element_oid, code = 1016, 20, "q"


class FloatArray(_FixedArray):
    """A ``double precision[]``."""

    __slots__ = ()
    array_oid, element_oid, code = 1022, 701, "d"


class ByteaArray(_BytesArray):
    """A ``bytea[]``."""

    __slots__ = ()
    array_oid, element_oid = 1001, 17


class TextArray(_BytesArray):
    """A ``text[]``."""

    __slots__ = ()
    array_oid, element_oid = 1009, 25

    @staticmethod
    def _bytes(value: Scalar) -> bytes:
        if not isinstance(value, str):
            raise TypeError(f"text expected, not {value!r}")
        return value.encode()


ARRAYS: Final[dict[type, type[_Array]]] = {int: IntArray, float: FloatArray, bytes: ByteaArray, str: TextArray}
"""The array of a column's type."""

PACKING_ERRORS: Final = (error, TypeError, OverflowError)
"""What packing a value of the wrong type or size raises."""


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: _Array) -> bytes:
        return obj.data


def dumpers() -> list[tuple[type[_Array], type[Dumper]]]:
    """What a connection must know to send these arrays."""
    return [
        (kind, type(f"{kind.__name__}Dumper", (_ArrayDumper,), {"oid": kind.array_oid})) for kind in ARRAYS.values()
    ]
