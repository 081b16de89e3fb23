"""Functions of python.yaml. They know nothing of Formicary and can be tested like any others."""

from collections import Counter


def count(text: str) -> dict[str, dict[str, int]]:
    """Counts words."""
    return {"counts": dict(Counter(text.split()))}


def most_common(counts: dict[str, int], limit: int = 3) -> list[str]:
    """Returns the most common words, ties in alphabetical order."""
    return sorted(counts, key=lambda word: (-counts[word], word))[:limit]
