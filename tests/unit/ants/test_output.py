"""What a task writes is cut into lines, bounded and searched for outputs, whatever the pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from formicary.engine.ants.output import ENGINE, STDERR, STDOUT, Line, TaskOutput


def make(
    head: int = 10**7, tail: int = 10**6, line: int = 65536, outputs: int = 10**6
) -> tuple[TaskOutput, list[tuple[int, str]]]:
    seen: list[tuple[int, str]] = []

    def emit(lines: list[Line]) -> None:
        seen.extend((stream, text) for _, stream, text in lines)

    output = TaskOutput(emit, head_bytes=head, tail_bytes=tail, max_line_bytes=line, max_outputs_bytes=outputs)
    return output, seen


@given(st.lists(st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]))), st.data())
def test_lines_are_the_same_however_the_bytes_are_split(lines: list[str], data: st.DataObject) -> None:
    raw = "".join(line + "\n" for line in lines).encode()
    output, seen = make()
    while raw:
        size = data.draw(st.integers(1, len(raw)))
        output.feed(STDOUT, raw[:size])
        raw = raw[size:]
    output.finish()
    assert [text for _, text in seen] == lines


@given(st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(max_size=50)), max_size=50))
def test_no_bytes_break_it_and_bounds_hold(pieces: list[tuple[int, bytes]]) -> None:
    output, seen = make(head=500, tail=100, line=20)
    for stream, piece in pieces:
        output.feed(stream, piece)
    output.finish()
    texts = [text for stream, text in seen if stream != ENGINE]
    assert all("\n" not in text and "\0" not in text for text in texts)
    assert all(len(text) <= 20 + len(" … (line cut)") for text in texts)
    assert sum(len(text) for text in texts) <= 500 + 100 + 2 * 40


def test_the_end_of_a_long_log_is_kept_and_the_gap_is_counted() -> None:
    output, seen = make(head=1000, tail=200)
    for number in range(1000):
        output.feed(STDOUT, b"line %d\n" % number)
    output.finish()
    texts = [text for stream, text in seen if stream == STDOUT]
    assert texts[0] == "line 0"
    assert texts[-1] == "line 999"
    (gap,) = [text for stream, text in seen if stream == ENGINE]
    dropped = int("".join(c for c in gap if c.isdigit()))
    assert dropped + sum(len(text) + 1 for text in texts) == sum(len(f"line {n}") + 1 for n in range(1000))


def test_a_line_longer_than_the_bound_is_cut_and_the_next_line_is_whole() -> None:
    output, seen = make(line=10)
    output.feed(STDOUT, b"x" * 8)
    output.feed(STDOUT, b"x" * 8)
    output.feed(STDOUT, b"x" * 8 + b"\nnext\n" + b"y" * 30 + b"\n")
    assert [text for _, text in seen] == ["x" * 10 + " … (line cut)", "next", "y" * 10 + " … (line cut)"]


def test_outputs_are_found_after_the_log_is_full() -> None:
    output, _ = make(head=10, tail=10)
    output.feed(STDOUT, b"noise\n" * 100 + b"::set-output name=A::1\n" + b"noise\n" * 100)
    output.feed(STDOUT, b"::set-output name=A::2\n::set-output name=::x\n::set-output nothing\n")
    assert output.outputs == {"A": "2"}
    assert not output.outputs_too_large


def test_older_marks_set_outputs_too() -> None:
    """The name ends at the first `::`; without a name or a value's mark there is nothing to set; errors set nothing."""
    output, _ = make()
    output.feed(STDOUT, b"::add-job-context Url::https://x/y::z\n::add-task-context  Model ::m\n::add-task-conte")
    output.feed(STDOUT, b"xt Empty::\n::add-job-context NONE\n::add-job-context ::x\n::add-other-context A::1\n")
    output.feed(STDERR, b"::add-job-context B::1\n")
    output.finish()
    assert output.outputs == {"Url": "https://x/y::z", "Model": "m", "Empty": ""}


def test_outputs_have_a_bound_of_their_own() -> None:
    output, _ = make(outputs=100)
    output.feed(STDOUT, b"::set-output name=A::" + b"x" * 60 + b"\n")
    output.feed(STDOUT, b"::set-output name=A::" + b"y" * 60 + b"\n")
    assert output.outputs == {"A": "y" * 60}
    output.feed(STDOUT, b"::set-output name=B::" + b"x" * 60 + b"\n")
    assert output.outputs_too_large
    assert output.outputs == {"A": "y" * 60}
