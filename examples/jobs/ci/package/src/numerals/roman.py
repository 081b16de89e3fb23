"""The conversion, both ways."""

_SIGNS = (
    (1000, "M"),
    (900, "CM"),
    (500, "D"),
    (400, "CD"),
    (100, "C"),
    (90, "XC"),
    (50, "L"),
    (40, "XL"),
    (10, "X"),
    (9, "IX"),
    (5, "V"),
    (4, "IV"),
    (1, "I"),
)


def to_roman(number: int) -> str:
    """Returns a number in Roman numerals.

    Raises:
        ValueError: It is not from 1 to 3999.
    """
    if not 1 <= number <= 3999:
        raise ValueError(f"{number} is not from 1 to 3999")
    found = []
    for value, sign in _SIGNS:
        count, number = divmod(number, value)
        found.append(sign * count)
    return "".join(found)


def from_roman(text: str) -> int:
    """Returns the number of a Roman numeral.

    Raises:
        ValueError: It is not the canonical numeral of any number.
    """
    total, rest = 0, text.upper()
    for value, sign in _SIGNS:
        while rest.startswith(sign):
            total += value
            rest = rest[len(sign) :]
    if rest or not total or total > 3999 or to_roman(total) != text.upper():
        raise ValueError(f"{text!r} is no Roman numeral")
    return total
