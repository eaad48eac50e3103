"""Whether two short answers say the same. What they can't be held against each other by is left undecided."""

import re
import unicodedata

WORDS_MAX = 60
"""Longer answers may agree in other words: no verdict."""

ALIKE = 0.8

_BOXED = re.compile(r"\\boxed\{([^{}]{1,200})\}")
_CONCLUSION = re.compile(r"(?:####|\banswer(?: is|:))\s*((?:[^\n.]|\.(?=\d)){1,200})", re.IGNORECASE)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_SMALL_WORDS = frozenset({"the", "a", "an", "is"})
_WORD = re.compile(r"-?\d+(?:\.\d+)?|\w+")


def agreement(one: str, other: str) -> float | None:
    """Returns 1 when two answers agree, 0 when they don't, None when that can't be told.

    Answers that name a conclusion are held against each other by it, others as a whole: the same words in any order
    (F1 of 0.8 or more), and the same numbers.
    """
    concluded, other_concluded = conclusion(one), conclusion(other)
    if concluded is not None and other_concluded is not None:
        return float(_same(concluded, other_concluded))
    if max(len(one.split()), len(other.split())) > WORDS_MAX:
        return None
    if not _words(one) or not _words(other):
        return None
    return float(_same(concluded or one, other_concluded or other))


def conclusion(text: str) -> str | None:
    """Returns what a text calls its answer, if it calls anything so; the last one counts."""
    found = _BOXED.findall(text) or _CONCLUSION.findall(text)
    return found[-1] if found else None


def _same(one: str, other: str) -> bool:
    mine, theirs = _words(one), _words(other)
    if _NUMBER.findall(" ".join(mine)) != _NUMBER.findall(" ".join(theirs)):
        return False
    if len(mine) == 1 or len(theirs) == 1:
        return mine == theirs
    shared = sum(min(mine.count(word), theirs.count(word)) for word in set(mine))
    return 2.0 * shared >= ALIKE * (len(mine) + len(theirs))


def _words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKC", text).casefold().replace(",", "")
    words = _WORD.findall(folded)
    return [word for word in words if word not in _SMALL_WORDS] or words
