import unittest

from numerals import from_roman, to_roman


class RomanTest(unittest.TestCase):
    def test_known_numbers(self) -> None:
        for number, text in ((1, "I"), (4, "IV"), (1969, "MCMLXIX"), (2024, "MMXXIV"), (3999, "MMMCMXCIX")):
            with self.subTest(number=number):
                self.assertEqual(to_roman(number), text)
                self.assertEqual(from_roman(text), number)

    def test_every_number_comes_back(self) -> None:
        for number in range(1, 4000):
            self.assertEqual(from_roman(to_roman(number)), number)

    def test_what_is_no_numeral_is_refused(self) -> None:
        for text in ("", "IIII", "IC", "ABC", "MMMM"):
            with self.subTest(text=text), self.assertRaises(ValueError):
                from_roman(text)
        with self.assertRaises(ValueError):
            to_roman(0)
