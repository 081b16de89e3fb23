"""``numerals 1969`` prints MCMLXIX, ``numerals MCMLXIX`` prints 1969."""

import sys

from numerals import from_roman, to_roman


def main() -> None:
    """Converts each argument."""
    for word in sys.argv[1:]:
        print(to_roman(int(word)) if word.isdigit() else from_roman(word))


if __name__ == "__main__":
    main()
