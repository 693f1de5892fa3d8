"""Text from outside (file names, labels, provenance) made fit for a terminal: no escape sequence or line break in it is obeyed."""

from __future__ import annotations

import unicodedata

import click

# They join letters and emoji, and do nothing else.
_JOINERS = "\u200c\u200d"


def printable(text: object) -> str:
    r"""Text on one line, in which what does not print stands as an escape: ``\n``, ``\x1b``, ``\u202e``, ``\udcff``.

    Parameters
    ----------
    text : object
        Becomes a text by ``str``; may hold what no encoding takes, such as file names that are not UTF-8.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if _prints(c) else c.encode("unicode_escape").decode() for c in text)


def echo(text: object, err: bool = False) -> None:
    """Print lines of which parts come from outside; within a line nothing but text reaches the terminal."""
    click.echo("\n".join(map(printable, str(text).split("\n"))), err=err)


def _prints(character: str) -> bool:
    return character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs"
