"""Malformed requests and files, as an attacker or a broken page would send them; seeded."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

PATHS = (
    "/",
    "/api/study",
    "/api/decode",
    "/api/map",
    "/api/spectrum/{}",
    "/api/neighbours/{}",
    "/api/node/{}",
    "/api/node/{}/derivative",
    "/api/node/{}/traversal",
    "/api/node/{}/scatter",
    "/api/search",
    "/api/selection",
    "/api/drop",
    "/api/dropped/{}",
    "/api/dropped/{}/answer",
    "/api/python",
    "/static/{}",
    "/{}",
)
KEYS = (
    "z",
    "base",
    "berv",
    "low",
    "high",
    "width",
    "parts",
    "compare",
    "x",
    "y",
    "colour",
    "n",
    "nodes",
    "nuisances",
    "label",
    "text",
    "view",
    "row",
    "node",
    "key",
    "lasso",
    "token",
    "ui.a",
    "what",
    "",
)
VALUES = (
    "",
    "0",
    "1",
    "3",
    "-1",
    "89",
    "90",
    "1e9",
    "1e308",
    "nan",
    "inf",
    "-inf",
    "0x10",
    "１２",
    "1_000",
    "NaN",
    "true",
    "null",
    "3:1",
    "3:",
    ":3",
    "3:nan",
    "3:1,3:1",
    "3:1e99",
    "999:1",
    "3,5",
    "3,,5",
    "5888",
    "5892",
    "4000",
    "1200",
    "16",
    "99999",
    "node:0",
    "node:3",
    "node:-1",
    "node:99999999999",
    "label:teff",
    "label:kind",
    "label:<b>",
    "pca:0",
    "pca:9",
    "umap:0",
    "outlier",
    "snr",
    "index:ra",
    "index:row",
    "mean",
    "sliders",
    "map",
    "spectrum",
    "drop",
    "../../etc/passwd",
    "%00",
    "\x00",
    "<script>alert(1)</script>",
    "' OR 1=1 --",
    "{{7*7}}",
    "A" * 5000,
    "é\u202e\ud7ff",
    "0:0,1:1,2",
    "1" * 400,
    "-0",
    "+3",
    " 3 ",
    "3.0",
    "0:0," * 600,
    "%",
    "%zz",
    "..",
    ".",
    "*",
    "\\",
    "node:3\n",
    "[]",
)
TYPES = (
    "application/json",
    "multipart/form-data",
    "multipart/form-data; boundary=x",
    "text/plain",
    "",
    "application/json; charset=utf-16",
    "multipart/form-data; boundary=",
    "application/x-www-form-urlencoded",
    "\x7f",
    "multipart/form-data; boundary=" + "b" * 300,
)
BODIES = (
    b"",
    b"{",
    b"null",
    b"[]",
    b'{"rows":null}',
    b'{"rows":[1e999]}',
    b'{"rows":[-1]}',
    b'{"rows":[1,2,"3"]}',
    b'{"rows":' + b"[" * 5000,
    b'{"rows":[' + b"9" * 5000 + b"]}",
    b"\xff\xfe\x00",
    b'{"rows":[NaN]}',
    b'{"rows":{"a":1}}',
    b'{"rows":[1,2,3]}',
    b"--x\r\n",
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n',
    b"--x--\r\n",
    b"--x\r\nContent-Disposition: form-data\r\n\r\nabc\r\n--x--\r\n",
    b"a" * 70_000,
)
METHODS = ("GET",) * 8 + ("POST",) * 4 + ("HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW")
FILES = 80  # one request in so many is a file, which starts a process


def malformed(count: int, *, seed: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(method, path, options of the client)."""
    rng = random.Random(seed)
    for number in range(count):
        if number % FILES == FILES - 1:
            name = rng.choice(["a.fits", "../../x", "", "a.txt", "b.npz", "c.h5", "x" * 200, "<b>.csv"])
            yield "POST", "/api/drop", {"files": {"file": (name or "f", _file(rng))}}
            continue
        path = rng.choice(PATHS)
        value = rng.choice(VALUES)
        path = path.replace("{}", _quoted(value))
        options: dict[str, Any] = {"headers": _headers(rng)}
        if rng.random() < 0.8:
            pairs = [(rng.choice(KEYS), rng.choice(VALUES)) for _ in range(rng.randint(0, 5))]
            options["params"] = [(name, text) for name, text in pairs]
        method = rng.choice(METHODS)
        if method in ("POST", "PUT", "PATCH"):
            options["content"] = rng.choice(BODIES)
            kind = rng.choice(TYPES)
            options["headers"]["content-type"] = kind.encode("latin-1")
        yield method, path, options


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="%./\\<>:,") if text else ""


def _headers(rng: random.Random) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if rng.random() < 0.15:
        headers["host"] = rng.choice(
            ["evil.example", "127.0.0.1:8765", "[::1]:8765", "a" * 3000, "127.0.0.1:99999", "::::"]
        )
    if rng.random() < 0.15:
        headers["origin"] = rng.choice(["null", "http://evil.example", "http://127.0.0.1:8765", "x" * 2000])
    if rng.random() < 0.1:
        headers["cookie"] = rng.choice(["a", "=;=;", "astroprism-8765=1", "\x01", 'a="' + "b" * 4000])
    if rng.random() < 0.1:
        headers["authorization"] = rng.choice(["Bearer x", "Basic =", "Bearer"])
    if rng.random() < 0.05:
        headers["range"] = rng.choice(["bytes=0-", "bytes=99-1", "x"])
    return {name: value.encode("latin-1") for name, value in headers.items()}


def _file(rng: random.Random) -> bytes:
    """Damaged files of the formats that are read."""
    card = lambda key, value: f"{key:<8}= {value:>20}".ljust(80)  # noqa: E731
    size = rng.choice([0, 1, 10**6, 10**12, -5])
    header = (
        "".join(
            [
                card("SIMPLE", "T"),
                card("BITPIX", rng.choice([8, -32, -64, 7])),
                card("NAXIS", rng.choice([0, 1, 3])),
                card("NAXIS1", size),
                "END".ljust(80),
            ]
        )
        .ljust(2880)
        .encode()
    )
    table = "\n".join(f"{5880 + i * 0.1:.2f} {rng.random():.3f}" for i in range(300)).encode()
    kinds = [
        header,
        header + bytes(2880),
        header[: rng.randint(1, 2000)],
        rng.randbytes(rng.randint(1, 5000)),
        b"PK\x03\x04" + rng.randbytes(300),
        b"\x89HDF\r\n\x1a\n" + rng.randbytes(800),
        b"\x1f\x8b\x08\x00" + rng.randbytes(200),
        b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (9999999999,), }"
        + rng.randbytes(50),
        table,
        table.replace(b"5", b"nan"),
        b"wavelength,flux\n<script>,1\n" * 20,
        b"5880 1\n" * rng.randint(1, 200),
    ]
    return rng.choice(kinds)
