"""Every error astroprism raises on purpose, in one tree.

AstroprismError
├── SpectrumError        a spectrum that cannot be used
│   ├── UnreadableFile   the file is damaged, truncated, empty or in no known format
│   └── BadSpectrum      the file could be read, its data cannot be used
├── GridError            a wavelength grid that makes no sense, or does not fit the data
├── StoreError           a store that is damaged, foreign, unfinished or cannot be written
├── CatalogError         a label table that cannot be read or joined
├── ModelError           a model that is damaged, foreign, or cannot be trained
│   └── TrainingFailed   a training that fell back again and again
├── ConfigError          a configuration that contradicts itself or names unknown keys
└── MissingExtra         an optional dependency that is not installed

A message says what was wrong, the value met, and what to do about it.
"""

from __future__ import annotations


class AstroprismError(Exception):
    """Base of all errors raised on purpose."""


class SpectrumError(AstroprismError):
    """A spectrum was refused. `reason` is one of a short, countable vocabulary (see REASONS)."""

    def __init__(self, message: str, *, reason: str = "unreadable") -> None:
        if reason not in REASONS:
            raise ValueError(f"unknown refusal reason {reason!r}; known: {', '.join(REASONS)}")
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:  # keyword-only arguments survive a process pool
        return (_rebuild, (type(self), str(self), self.reason))


def _rebuild(kind: type[SpectrumError], message: str, reason: str) -> SpectrumError:
    return kind(message, reason=reason)


REASONS = {
    "unreadable": "the file cannot be read in its own format",
    "unknown-format": "no reader recognises the content",
    "empty": "no bytes, or no pixels",
    "truncated": "the file ends before its data do",
    "checksum": "the file's own checksum does not match its content",
    "wavelength": "wavelengths are missing, not finite, not increasing, or in impossible units",
    "no-overlap": "the spectrum does not reach into the grid",
    "constant": "all good pixels hold one value",
    "noise-only": "the median flux is zero or negative",
    "insane": "too many pixels hold impossible values",
    "masked": "too few good pixels are left",
    "ambiguous": "the file can be read in more than one way",
    "duplicate": "the same data as a spectrum already taken",
    "crash": "reading it took too long or brought the reader down",
}


class UnreadableFile(SpectrumError):
    """The file is damaged, truncated, empty or in no known format."""


class BadSpectrum(SpectrumError):
    """The file could be read, but its data cannot be used."""


class GridError(AstroprismError):
    """A wavelength grid that makes no sense, or does not fit the data."""


class StoreError(AstroprismError):
    """A store that is damaged, foreign, unfinished or cannot be written."""


class CatalogError(AstroprismError):
    """A label table that cannot be read or joined."""


class ModelError(AstroprismError):
    """A model that is damaged, foreign, or cannot be trained."""


class TrainingFailed(ModelError):
    """A training that fell back again and again, and was given up."""


class ConfigError(AstroprismError):
    """A configuration that contradicts itself or names unknown keys."""


class MissingExtra(AstroprismError):
    """An optional dependency is not installed; the message gives the pip command."""
