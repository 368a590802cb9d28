"""How long a test of the page waits."""

from __future__ import annotations

import time
from typing import Any


def quiet(page: Any, *, seconds: float = 30.0) -> None:
    """Wait until the page has requested nothing and waited for nothing for a third of a second.

    Playwright's networkidle is over once a page has loaded; what a click sets off comes later.
    """
    still, ends = 0, time.monotonic() + seconds
    while still < 7 and time.monotonic() < ends:
        page.wait_for_timeout(50)
        still = 0 if page.flying else still + 1
