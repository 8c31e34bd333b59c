"""Finds what somebody may have meant by a name that is none."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """Return the one of the known names that is most like this one, or None if none is much like it.

    Capitals count for nothing. `likeness` is what they must have in common, from 0 to 1, where 1 is all.
    """
    by_fold = {each.casefold(): each for each in known}
    found = difflib.get_close_matches(name.casefold(), by_fold, n=1, cutoff=likeness)
    return by_fold[found[0]] if found else None


def question(name: str, known: Iterable[str]) -> str:
    """Return what is put behind a fault, to ask whether the nearest name was meant; empty if none is near."""
    found = nearest(name, known)
    return "" if found is None else f"; did you mean {found}?"
