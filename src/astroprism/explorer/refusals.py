"""A request that cannot be answered, and text that is safe to send: one line, no path of this machine."""

from __future__ import annotations

import re
from typing import Any

from ..errors import AstroprismError

LONGEST = 200  # characters of a text from a header or a label table
_PATH = re.compile(r"(?<![\w.:/])(?:[A-Za-z]:)?(?:[/\\][^\s/\\'\"<>|:;,]+)+[/\\]?")


class Refused(AstroprismError):
    """Answered with `status`, 400 .. 429."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def without_folders(error: BaseException) -> str:
    """The message of an error; of every path in it only the last part."""
    return tidy(_PATH.sub(_last, str(error)), longest=600)


def _last(found: re.Match[str]) -> str:
    parts = [part for part in re.split(r"[/\\]", found.group()) if part]
    return parts[-1] if parts else ""


def tidy(value: Any, *, longest: int = LONGEST) -> str:
    """A text from a file, fit to be displayed: one line, no control or direction characters, not too long."""
    text = str(value)[: 4 * longest]
    text = "".join(one if one.isprintable() else " " for one in text)
    text = " ".join(text.split()).encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= longest else text[: longest - 2] + ".."
