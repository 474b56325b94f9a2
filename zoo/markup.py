"""Tables for notebooks, which show what an object's `_repr_html_` gives."""

from collections.abc import Iterable, Sequence
from html import escape


def table(caption: str, rows: Iterable[Sequence[object]], head: Sequence[str] = ()) -> str:
    """A table as HTML, all text escaped: names of classes and paths may hold anything.

    >>> table("<2 rows>", [("ant", 1234), ("bee", 0.5)])[:56]
    '<table><caption>&lt;2 rows&gt;</caption><tbody><tr><td s'

    Numbers stand to the right, whole ones with commas, others with four digits; None is an empty cell.
    """
    top = "".join(f"<th style='text-align: left'>{escape(each)}</th>" for each in head)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    start = f"<thead><tr>{top}</tr></thead>" if head else ""
    return f"<table><caption>{escape(caption)}</caption>{start}<tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    text = f"{value:,}" if isinstance(value, int) and number else f"{value:.4g}" if number else str(value)
    side = "right" if number else "left"
    return f"<td style='text-align: {side}'>{escape(text) if value is not None else ''}</td>"
