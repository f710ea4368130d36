"""Weights in prompts have the web UI's meaning, for any text, in linear time."""

from __future__ import annotations

import sys
from itertools import pairwise
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdopt.errors import InvalidValueError
from sdopt.runtime import prompt_syntax
from sdopt.runtime.prompt_syntax import SQUARE_FACTOR, Segment, parse_prompt


def parsed(text: str) -> tuple[Segment, ...] | None:
    """None where a weight is refused."""
    try:
        segments = parse_prompt(text)
    except InvalidValueError as error:
        if error.name != "prompt weight":
            raise
        return None
    assert segments
    return segments


def pieces(text: str) -> list[tuple[str, float]]:
    (segment,) = parse_prompt(text)
    return [(piece.text, pytest.approx(piece.weight, rel=1e-12)) for piece in segment]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("a cat, a dog: yes!", [("a cat, a dog: yes!", 1)]),
        ("a (red) cat", [("a ", 1), ("red", 1.1), (" cat", 1)]),
        ("a (red:1.3) cat", [("a ", 1), ("red", 1.3), (" cat", 1)]),
        ("a [red] cat", [("a ", 1), ("red", 1 / 1.1), (" cat", 1)]),
        ("((a)) [[b]]", [("a", 1.21), (" ", 1), ("b", 1 / 1.21)]),
        # The web UI's own example.
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [("a ", 1), ("house", 1.573), (" ", 1.1), ("on", 1), (" a ", 1.1), ("hill", 0.55),
             (", sun, ", 1.1), ("sky", 1.4641), (".", 1.1)],
        ),
        # Weights as numbers.
        ("(a:2)(b:.5)(c:3.)(d:+1.5)(e:-1)(f:0)",
         [("a", 2), ("b", 0.5), ("c", 3), ("d", 1.5), ("e", -1), ("f", 0)]),
        ("(a: 1.5 )", [("a", 1.5)]),
        ("(at 10:30:1.5)", [("at 10:30", 1.5)]),
        ("(a:1.2.3)", [("a:1.2.3", 1.1)]),
        ("(a:x)(b:)", [("a:xb:", 1.1)]),
        ("(a:1e3)", [("a:1e3", 1.1)]),
        ("(a:١)", [("a:١", 1.1)]),
        ("[a:1.3]", [("a:1.3", 1 / 1.1)]),
        (r"(a:1\.3)", [("a:1.3", 1.1)]),
        ("(a:1.3[])", [("a:1.3", 1.1)]),
        # Escapes.
        (r"\(literal\]", [("(literal]", 1)]),
        (r"\[a\) \\ (b\))", [("[a) \\ ", 1), ("b)", 1.1)]),
        (r"C:\new", [("C:new", 1)]),
        (r"(a:1.3\)", [("a:1.3)", 1.1)]),
        # Brackets that do not match.
        ("(unbalanced", [("unbalanced", 1.1)]),
        ("[unbalanced", [("unbalanced", 1 / 1.1)]),
        ("a) b] c:1.2)", [("a) b] c:1.2)", 1)]),
        ("(a:1.3", [("a:1.3", 1.1)]),
        ("(a [b) c]", [("a ", 1.1), ("b", 1), (" c", 1 / 1.1)]),
        # Neighbours of one weight are one piece, so that tokens may span them.
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        ("()[]a()", [("a", 1)]),
        ("(:1.3)", []),
    ],
)  # fmt: skip
def test_pieces(text: str, expected: list[tuple[str, float]]) -> None:
    assert pieces(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a BREAK b", ["a", "b"]),
        ("a\n BREAK \tb BREAK c", ["a", "b", "c"]),
        ("a BREAK BREAK b", ["a", "", "b"]),
        ("BREAK a BREAK", ["", "a", ""]),
        ("BREAKING a break Break xBREAK", ["BREAKING a break Break xBREAK"]),
        ("a,BREAK,b", ["a,", ",b"]),
        ("(a BREAK b:1.2) c", ["a", "b c"]),
    ],
)
def test_break_starts_a_segment(text: str, expected: list[str]) -> None:
    found = ["".join(piece.text for piece in segment) for segment in parse_prompt(text)]
    assert found == expected


def test_a_break_within_brackets_keeps_their_weight() -> None:
    first, second = parse_prompt("(a BREAK b:1.2) c")
    assert first == (("a", 1.2),)
    assert second == (("b", 1.2), (" c", 1.0))


def test_a_weight_beyond_all_reason_is_refused() -> None:
    with pytest.raises(InvalidValueError) as caught:
        parse_prompt("a (very (big:100):-20) cat", "negative_prompt")
    assert str(caught.value) == (
        "negative_prompt weight=-2000.0 is not allowed. negative_prompt weight is a number from "
        "-1000 to 1000. It is that of 'big'. Write \\( for a bracket that is no weight."
    )


@pytest.mark.parametrize(
    "text", ["(" * 5000 + "a", "(a:" + "9" * 500 + ")", "[" * 9000 + "(" * 9000]
)
def test_numbers_that_overflow_are_refused_or_nothing(text: str) -> None:
    assert parsed(text) in (None, ((),))


SYNTAX = st.text(st.sampled_from("()[]:\\.-+019 ,abBREAK")) | st.lists(
    st.sampled_from(["(", ")", "[", "]", ":1.2", ":", "\\", " BREAK ", "a", "b c", "\\(", "é"])
).map("".join)


@given(text=st.text() | SYNTAX)
def test_any_text_gives_pieces_or_a_clear_error(text: str) -> None:
    for segment in parsed(text) or ():
        assert all(piece.text and abs(piece.weight) <= 1000 for piece in segment)
        assert all(a.weight != b.weight for a, b in pairwise(segment))


@given(text=st.text(st.characters(exclude_characters="()[]\\")).filter(lambda t: "BREAK" not in t))
def test_a_text_without_syntax_is_one_piece_as_it_is(text: str) -> None:
    assert parse_prompt(text) == (((text, 1.0),) if text else (),)


@given(text=SYNTAX)
def test_weights_are_those_of_the_definition(text: str) -> None:
    """Brackets found character by character, each multiplying all that was read since it opened."""
    segments = parsed(text.replace("BREAK", "break"))
    if segments is None:
        return
    ours = [(c, piece.weight) for segment in segments for piece in segment for c in piece.text]
    expected = by_definition(text.replace("BREAK", "break"))
    assert [c for c, _ in ours] == [c for c, _ in expected]
    assert [w for _, w in ours] == pytest.approx([w for _, w in expected], rel=1e-9, abs=1e-12)


def by_definition(text: str) -> list[tuple[str, float]]:  # noqa: C901
    out: list[tuple[str, float]] = []
    stacks: dict[str, list[int]] = {"(": [], "[": []}

    def multiply(begin: int, factor: float) -> None:
        out[begin:] = [(c, w * factor) for c, w in out[begin:]]

    position, fresh = 0, 0  # fresh: where in `out` the run of plain text began
    while position < len(text):
        c = text[position]
        position += 1
        if c == "\\":
            if text[position : position + 1] in {"(", ")", "[", "]", "\\"}:
                out.append((text[position], 1.0))
                position += 1
            fresh = len(out)
        elif c in "([":
            stacks[c].append(len(out))
            fresh = len(out)
        elif c == "]" and stacks["["]:
            multiply(stacks["["].pop(), SQUARE_FACTOR)
            fresh = len(out)
        elif c == ")" and stacks["("]:
            run = "".join(c for c, _ in out[fresh:])
            begin, factor = stacks["("].pop(), 1.1
            head, colon, tail = run.rpartition(":")
            if colon and is_number(tail.strip()):
                factor = float(tail)
                del out[fresh + len(head) :]
            multiply(begin, factor)
            fresh = len(out)
        else:
            out.append((c, 1.0))
            if c in ")]":
                fresh = len(out)
    for begin in stacks["("]:
        multiply(begin, 1.1)
    for begin in stacks["["]:
        multiply(begin, SQUARE_FACTOR)
    return out


def is_number(text: str) -> bool:
    digits = text.removeprefix("+") if text.startswith("+") else text.removeprefix("-")
    return digits.count(".") <= 1 and digits.replace(".", "").isdecimal() and digits.isascii()


@pytest.mark.parametrize(
    "unit",
    [
        *"()[]\\:9 ",
        *("a ", "(a:1.2)", "((a)", "[(b]", "BREAK ", "(a BREAK b)", ":9", "(:", "\\("),
    ],
)
def test_twice_the_text_takes_about_twice_the_steps(unit: str) -> None:
    """Counted in lines of Python run, not in time. The regular expressions never step back."""
    tail = "\\)"  # an end that no unit can match
    once, twice = steps(unit * 300 + tail), steps(unit * 600 + tail)
    assert twice <= 2.1 * once + 50


def steps(text: str) -> int:
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if frame.f_code.co_filename != prompt_syntax.__file__:
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        parsed(text)
    finally:
        sys.settrace(before)
    return count
