"""Errors on one line, whatever a file holds."""

from __future__ import annotations

import unicodedata


def unprintable(text: str) -> bool:
    """Whether a text has control characters or ends of lines."""
    return any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text)


def printable(name: object) -> str:
    """A name from outside on one line."""
    text = name if isinstance(name, str) else repr(name)
    return ascii(text)[:100] if unprintable(text) or not text.isprintable() else text


def reason(error: BaseException) -> str:
    """An error's message on one line, short."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:300] or type(error).__name__
