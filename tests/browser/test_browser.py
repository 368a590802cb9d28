"""The explorer as people meet it: in a real browser, on the real server."""

from __future__ import annotations

import base64
import csv
import io
import re
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from matplotlib.path import Path as Polygon
from waiting import quiet

pytest.importorskip("fastapi")

# one process makes the study and opens the browser, not each
pytestmark = pytest.mark.xdist_group("browser")

VIEWS = {
    "sliders": "?view=sliders&compare=1",
    "map": "?view=map&x=node:0&y=node:3&colour=label:kind&row=7",
    "spectrum": "?view=spectrum&row=3",
    "nodes": "?view=node",
    "node": "?view=node&node=5",
    "drop": "?view=drop",
}
NARROW = {"viewport": {"width": 390, "height": 844}}


def settings(page):
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def slider(page, node):
    return page.locator(f"#node-{node} input[type=range]")


def drawn(page):
    return page.locator(".stage").first.screenshot()


def move(page, node, to):
    """As a hand does: many small steps."""
    slider(page, node).evaluate(
        """(input, to) => {
            const from = Number(input.value);
            for (let i = 1; i <= 40; i += 1) {
                input.value = String(from + (to - from) * i / 40);
                input.dispatchEvent(new Event('input', {bubbles: true}));
            }
            input.dispatchEvent(new Event('change', {bubbles: true}));
        }""",
        to,
    )
    quiet(page)


def test_a_slider_moves_the_spectrum(watched):
    page = watched.go("?view=sliders")
    before, shown = drawn(page), page.locator("#node-3 .value").inner_text()
    assert shown.endswith("K")
    watched.requested.clear()
    high = float(slider(page, 3).get_attribute("max"))
    move(page, 3, high)
    assert drawn(page) != before
    assert page.locator("#node-3 .value").inner_text() != shown
    requested = [url for url in watched.requested if "/api/decode" in url]
    assert 1 <= len(requested) <= 6, "only the newest of many moves is requested"
    last = parse_qs(urlsplit(requested[-1]).query)["z"][0]
    assert float(last.removeprefix("3:")) == pytest.approx(high, rel=1e-2)
    assert settings(page)["z"] == last
    spoken = slider(page, 3).get_attribute("aria-valuetext")
    assert "spreads" in spoken
    page.go_back()
    quiet(page)
    assert "z" not in settings(page)
    page.go_forward()
    quiet(page)
    assert float(slider(page, 3).input_value()) == pytest.approx(high, rel=1e-2)
    page.get_by_role("button", name="Reset").click()
    quiet(page)
    assert drawn(page) == before


def test_doubtful_nodes_are_folded_away(watched):
    page = watched.go("?view=sliders")
    assert not slider(page, 7).is_visible()
    page.get_by_text("Doubtful nodes and copies (1)").click()
    assert slider(page, 7).is_visible()


def test_keys_wheel_drag_and_numbers_zoom(watched):
    page = watched.go("?view=sliders")
    stage = page.locator(".stage")
    stage.focus()
    page.keyboard.press("+")
    quiet(page)
    low, high = (float(settings(page)[name]) for name in ("low", "high"))
    assert 9 < high - low < 11
    page.keyboard.press("ArrowRight")
    quiet(page)
    assert float(settings(page)["low"]) == pytest.approx(low + 1, abs=0.1)
    page.keyboard.press("0")
    quiet(page)
    assert "low" not in settings(page)
    over = page.locator(".u-over").first.bounding_box()
    page.mouse.move(over["x"] + over["width"] / 2, over["y"] + 60)
    page.mouse.wheel(0, -240)
    quiet(page)
    low, high = (float(settings(page)[name]) for name in ("low", "high"))
    assert high - low < 10
    page.get_by_role("button", name="All", exact=True).click()
    quiet(page)
    page.mouse.move(over["x"] + 100, over["y"] + 60)
    page.mouse.down()
    page.mouse.move(over["x"] + 200, over["y"] + 60, steps=4)
    page.mouse.up()
    quiet(page)
    low, high = (float(settings(page)[name]) for name in ("low", "high"))
    assert high - low == pytest.approx(20 * 100 / over["width"], rel=0.1)
    field = page.get_by_label("Window from, angstrom")
    field.fill("5,890")
    page.get_by_label("Window to, angstrom").fill("5900")
    page.keyboard.press("Enter")
    quiet(page)
    assert float(settings(page)["low"]) == pytest.approx(5890, abs=0.01)


def test_an_address_restores_the_sliders(watched, study):
    code = study.codes().iloc[4]
    address = "?view=sliders&base=4&z=0:0.5&low=5888&high=5893&compare=1&ui.lines=0"
    page = watched.go(address)
    quiet(page)
    assert float(slider(page, 0).input_value()) == pytest.approx(0.5, abs=0.05)
    assert float(slider(page, 3).input_value()) == pytest.approx(code["mean_003"], abs=0.1)
    assert page.get_by_label("Window from, angstrom").input_value() == "5,888.00"
    assert page.get_by_label("Change from the base").is_checked()
    assert not page.get_by_label("Names of lines").is_checked()
    assert page.get_by_text("Change from the base").count() >= 2
    assert settings(page) == {name: values[0] for name, values in parse_qs(address[1:]).items()}


def test_a_lasso_exports_the_right_ids(watched, study):
    page = watched.go("?view=map&x=node:0&y=node:3&colour=label:teff")
    box = page.locator(".scatter").bounding_box()
    center = np.array([box["x"] + box["width"] * 0.55, box["y"] + box["height"] * 0.45])
    around = [center + 130 * np.array([np.cos(t), np.sin(t)]) for t in np.linspace(0, 2 * np.pi, 24)]
    page.mouse.move(*around[0])
    page.mouse.down()
    for place in around[1:]:
        page.mouse.move(*place)
    page.mouse.up()
    quiet(page)
    corners = np.array([pair.split(":") for pair in settings(page)["lasso"].split(",")], dtype=float)
    codes = study.codes()
    inside = Polygon(corners).contains_points(codes[["mean_000", "mean_003"]].to_numpy(np.float32))
    expected = set(codes["spectrum_id"][inside])
    assert 5 < len(expected) < len(codes)
    assert page.locator("#selected").inner_text().startswith(str(len(expected)))
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as CSV").click()
    told = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert {row["spectrum_id"] for row in told} == expected
    assert download.value.suggested_filename == "selection.csv"
    page.get_by_text("List the selection").click()
    page.locator(".chosen tbody tr").first.wait_for()
    assert page.locator(".chosen tbody tr").count() == min(50, len(expected))
    again = watched.go("?" + urlsplit(page.url).query)
    quiet(again)
    assert again.locator("#selected").inner_text().startswith(str(len(expected)))


def test_ranges_select_without_a_mouse(watched, study):
    page = watched.go("?view=map&x=node:0&y=node:3")
    middle = float(study.codes()["mean_000"].median())
    page.get_by_text("Select by ranges").click()
    page.locator("#range-left").fill(f"{middle:.4f}")
    page.locator(".ranges").get_by_role("button", name="Select").click()
    count = int(re.match(r"\d+", page.locator("#selected").inner_text())[0])
    assert count == pytest.approx(len(study.codes()) / 2, abs=2)


def test_a_click_on_the_map_shows_the_spectrum(watched):
    page = watched.go("?view=map&x=node:0&y=node:3")
    page.locator(".scatter").focus()
    page.keyboard.press("Enter")
    quiet(page)
    row = settings(page)["row"]
    beside = page.locator(".beside")
    assert beside.get_by_role("heading").first.inner_text()
    assert beside.locator(".u-over").count() == 2  # flux, and residual
    beside.get_by_role("link", name="Open its page").click()
    quiet(page)
    assert settings(page) == {"view": "spectrum", "row": row}
    assert page.get_by_text("Most similar spectra").is_visible()
    page.go_back()
    quiet(page)
    assert settings(page)["view"] == "map"
    assert settings(page)["row"] == row


def test_strangers_text_is_text(watched):
    page = watched.go(VIEWS["map"])
    assert page.locator(".colours").get_by_text("<img src=x").is_visible()
    assert page.locator("img").count() == 0
    page = watched.go("?view=spectrum&row=%3Cimg%3E")
    assert page.locator("img").count() == 0


def answered(page):
    page.locator("#answer[data-key]").wait_for(timeout=120_000)
    quiet(page)
    return page.locator("#answer")


def test_a_dropped_file_gets_its_answer(watched, files, study):
    page = watched.go("?view=drop")
    page.locator("#file").set_input_files(files[5])
    answer = answered(page)
    index = study.index
    name = index["spectrum_id"][index["path"].str.endswith(files[5].name)].iloc[0]
    assert name in answer.inner_text()
    assert answer.locator(".u-over").count() == 2
    assert answer.get_by_text("Most similar spectra").is_visible()
    first = settings(page)["key"]
    # dropped on any view: on the sliders here
    page = watched.go("?view=sliders")
    page.evaluate(
        """([name, text]) => {
            const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
            const held = new DataTransfer();
            held.items.add(new File([bytes], name));
            const how = {dataTransfer: held, bubbles: true, cancelable: true};
            window.dispatchEvent(new DragEvent('drop', how));
        }""",
        [files[9].name, base64.b64encode(files[9].read_bytes()).decode()],
    )
    answered(page)
    assert settings(page)["view"] == "drop"
    assert settings(page)["key"] != first
    # and the address brings the first answer back
    page = watched.go(f"?view=drop&key={first}")
    assert name in answered(page).inner_text()


def test_a_file_that_is_no_spectrum_is_refused_in_words(watched, tmp_path):
    page = watched.go("?view=drop")
    junk = tmp_path / "<b>junk.fits"
    junk.write_bytes(b"SIMPLE  = nonsense" * 40)
    page.locator("#file").set_input_files(junk)
    alert = page.locator("#answer").get_by_role("alert")
    alert.wait_for(timeout=120_000)
    assert "<b>junk.fits" in alert.inner_text()
    assert page.locator("#answer b").count() == 0
    watched.faults = [fault for fault in watched.faults if "422" not in fault]  # the browser logs the refusal


def test_the_python_of_a_view_is_shown(watched):
    page = watched.go("?view=sliders&z=3:1.5")
    page.get_by_role("button", name="Python").click()
    code = page.locator("dialog pre")
    code.wait_for()
    text = code.inner_text()
    compile(text, "view.py", "exec")
    assert "Study(" in text
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="detached")


def test_a_server_that_is_gone_is_told(watched):
    page = watched.go("?view=sliders")
    page.route("**/api/**", lambda route: route.abort())
    move(page, 3, 1.0)
    assert "does not answer" in page.get_by_role("alert").inner_text()
    page.unroute("**/api/**")
    page.get_by_role("button", name="Try again").click()
    quiet(page)
    assert page.get_by_role("alert").count() == 0
    watched.faults = [fault for fault in watched.faults if "ERR_FAILED" not in fault]


def test_light_and_dark(watched):
    page = watched.go("?view=node")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Switch to dark").click()
    dark = page.evaluate(ground)
    assert light != dark
    page.reload()
    quiet(page)
    assert page.evaluate(ground) == dark


def test_the_first_tab_skips_to_the_content(watched):
    page = watched.go("?view=node")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


@pytest.mark.parametrize(
    "watched", [{}, {"color_scheme": "dark"}, NARROW], ids=["light", "dark", "narrow"], indirect=True
)
def test_axe_finds_nothing_serious_and_nothing_sticks_out(watched, files):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for name, query in VIEWS.items():
        page = watched.go(query)
        if name == "drop":
            page.locator("#file").set_input_files(files[5])
            answered(page)
        width = page.viewport_size["width"]
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        found = axe.run(page).response["violations"]
        bad = [one for one in found if one["impact"] in ("serious", "critical")]
        assert not bad, (name, [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in bad])
