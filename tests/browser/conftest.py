"""A browser, and the explorer's server on a tiny study whose labels hold markup."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waiting import quiet

from learned import learned_findings
from quick import quick_options
from studies import write_findings

MARKUP = "<img src=x onerror=alert(1)>"
STARS = 240


def chromium() -> str | None:
    """Debian's browser, or one that is called alike."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A few hundred stars, a tiny network, labels with markup in them, findings made up for four nodes."""
    from astroprism import Study
    from astroprism.simulate import SimulationConfig, write_archive

    folder = tmp_path_factory.mktemp("explored")
    config = SimulationConfig(spectra=STARS, window=(5885.0, 5905.0), step=5.0, visits="one", seed=5)
    write_archive(folder / "archive", config)
    study = Study(folder / "study")
    study.ingest(folder / "archive")
    study.train(options=quick_options(folder, batch=16, valid=0.2, test=0.2))
    study.encode()
    index = study.index
    findings, tables = learned_findings(
        identifiers=index["spectrum_id"], targets=index["target"], wavelength=study.store.grid.wavelength
    )
    kinds = np.array([MARKUP, "dwarf", "giant"], dtype=object)
    tables["labels"]["kind"] = kinds[np.random.default_rng(0).integers(0, 3, STARS)]
    write_findings(study.path, findings, tables)
    return study


@pytest.fixture(scope="module")
def served(study: Any) -> Iterator[str]:
    """The address of a server on the study."""
    from astroprism.explorer import start

    running = start(study, port=0)
    yield running.url
    running.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window; closed before tests of other files, whose event loops it would disturb."""
    needed = bool(os.environ.get("ASTROPRISM_NEEDS_BROWSER"))
    place = chromium()
    if place is None:
        if needed:
            pytest.fail("no chromium on this machine, and ASTROPRISM_NEEDS_BROWSER is set")
        pytest.skip("no chromium on this machine")
    api = (
        pytest.importorskip("playwright.sync_api")
        if not needed
        else __import__("playwright.sync_api").sync_api
    )
    with api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=place, args=["--no-sandbox"])
        yield made
        made.close()


class Watched:
    """A page, and what it must not do: log errors, throw, or send requests elsewhere than to 127.0.0.1."""

    def __init__(self, page: Any, home: str) -> None:
        self.page, self.home = page, home
        self.faults: list[str] = []
        self.requested: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.faults.append(f"thrown: {error}"))
        page.on("request", self._ask)
        page.flying = self.flying = set()
        page.on("requestfinished", lambda request: self.flying.discard(request))
        page.on("requestfailed", lambda request: self.flying.discard(request))

    def _said(self, message: Any) -> None:
        if message.type == "error":
            self.faults.append(f"console: {message.text}")

    def _ask(self, request: Any) -> None:
        self.requested.append(request.url)
        self.flying.add(request)
        if not request.url.startswith((self.home, "blob:", "data:")):
            self.faults.append(f"requested {request.url}")

    def go(self, query: str) -> Any:
        """Open a view and wait until it has drawn."""
        self.page.goto(self.home + query)
        quiet(self.page)
        return self.page


@pytest.fixture
def watched(browser: Any, served: str, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """A page of 1280 x 800; a parameter gives another size or colours."""
    wanted = {"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce"} | getattr(
        request, "param", {}
    )
    context = browser.new_context(**wanted)
    made = Watched(context.new_page(), served)
    yield made
    context.close()
    assert not made.faults, made.faults


@pytest.fixture
def files(study: Any) -> list[Path]:
    """The archive that the study was made of."""
    return sorted((study.path.parent / "archive" / "spectra").glob("*.fits"))
