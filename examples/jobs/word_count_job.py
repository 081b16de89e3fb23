"""The job of python.yaml in Python: a function that composes tasks.

formicary run examples/jobs/word_count_job.py:words -p 'text=to be or not to be'
"""

from formicary import job, task


@task
def count(text: str) -> dict[str, int]:
    """Counts words."""
    counts: dict[str, int] = {}
    for word in text.split():
        counts[word] = counts.get(word, 0) + 1
    return counts


@task(retry=2, timeout="10s")
def most_common(counts: dict[str, int], limit: int = 3) -> list[str]:
    """Returns the most common words, ties in alphabetical order."""
    return sorted(counts, key=lambda word: (-counts[word], word))[:limit]


@task(always_run=True)
def say_goodbye() -> None:
    """Runs at the end whatever happened."""
    print("done")


@job(max_concurrency=2)
def words(text: str = "the ant and the queen and the ant", limit: int = 2) -> list[str]:
    """Finds the most common words of a text."""
    say_goodbye()
    return most_common(count(text), limit)


if __name__ == "__main__":
    print(words.run().check().value)
