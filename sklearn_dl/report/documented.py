"""What does the documentation say of each check?

``checks.md`` is a page of the documentation, linked here: a heading a code, then its text; headings
without a text between them share the next one.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

__all__ = ["explanations", "introduction"]

_HEADING = re.compile(r"^### (DL\d{3}):.*$")
_ANCHOR = re.compile(r"^\(dl\d{3}\)=$", re.M)  # for links from elsewhere; no text


@cache
def _lines() -> tuple[str, ...]:
    page = files("sklearn_dl.report").joinpath("checks.md").read_text("utf-8")
    return tuple(_ANCHOR.sub("", page).replace("`", "").splitlines())


@cache
def introduction() -> str:
    """What stands before the first section: the letters of the losses."""
    before: list[str] = []
    for line in _lines():
        if line.startswith("## "):
            break
        if not line.startswith("# "):
            before.append(line)
    return " ".join(" ".join(before).split()).replace("*", "")


@cache
def explanations() -> dict[str, str]:
    """The text of each code."""
    texts: dict[str, list[str]] = {}
    sharing: list[str] = []
    for line in _lines():
        heading = _HEADING.match(line)
        if heading:
            # a heading after a text begins anew; after a heading it shares what follows
            sharing = [*(c for c in sharing if not texts[c]), heading[1]]
            texts[heading[1]] = []
        elif line.startswith("#"):
            sharing = []
        elif line.strip():
            for code in sharing:
                texts[code].append(line.strip())
    return {code: " ".join(lines) for code, lines in texts.items()}
