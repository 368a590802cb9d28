"""What became of each spectrum of a block, written line by line as it happens.

A line is a tag and a JSON value. `B n`: file n of the block was begun; `A {..}`: a spectrum was
accepted and its row written; `R {..}`: refused; `D n`: file n is done; `C n`: file n was being read
when its worker died. A line that a kill cut short is dropped, and with it its row.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..artifacts import blame


@dataclass
class Journal:
    """What happened to one block so far.

    accepted, refused  one dict per spectrum, in the order of the files; `file` is its number in the block
    done               files finished, in order
    outcomes           spectra of a file whose outcome is known
    crashes            how often a worker died while it read a file
    """

    accepted: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    done: set[int] = field(default_factory=set)
    outcomes: Counter[int] = field(default_factory=Counter)
    crashes: Counter[int] = field(default_factory=Counter)
    begun: int | None = None
    length: int = 0


def read_journal(path: Path) -> Journal:
    """The journal at `path`; an empty one where there is none."""
    journal = Journal()
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return journal
    for line in content.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        try:
            tag, value = line[:1], json.loads(line[2:])
        except ValueError:
            break
        if tag == b"A":
            journal.accepted.append(value)
            journal.outcomes[value["file"]] += 1
        elif tag == b"R":
            journal.refused.append(value)
            journal.outcomes[value["file"]] += 1
        elif tag == b"B":
            journal.begun = value
        elif tag == b"D":
            journal.done.add(value)
            journal.begun = None
        elif tag == b"C":
            journal.crashes[value] += 1
            journal.begun = None
        else:
            break
        journal.length += len(line)
    return journal


class JournalWriter:
    """Appends lines; what a kill left half-written is cut off first."""

    def __init__(self, path: Path, *, length: int) -> None:
        self._path = path
        with blame(path):
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
            os.ftruncate(self._fd, length)
            os.lseek(self._fd, length, os.SEEK_SET)

    def write(self, tag: str, value: object) -> None:
        """One line, handed to the system in one call."""
        line = f"{tag} {json.dumps(value)}\n".encode()
        with blame(self._path):
            written = os.write(self._fd, line)
            while written < len(line):
                written += os.write(self._fd, line[written:])

    def close(self) -> None:
        """Close the file; what was written stays."""
        os.close(self._fd)


@dataclass
class JournalTail:
    """Counts outcomes in a growing journal, for progress; reads only what is new."""

    path: Path
    accepted: int = 0
    refused: int = 0
    done: int = 0
    _offset: int = 0

    def update(self) -> None:
        """Look again."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self._offset)
                content = file.read()
        except OSError:
            return
        end = content.rfind(b"\n") + 1
        for line in content[:end].splitlines():
            self.accepted += line[:1] == b"A"
            self.refused += line[:1] == b"R"
            self.done += line[:1] == b"D"
        self._offset += end
