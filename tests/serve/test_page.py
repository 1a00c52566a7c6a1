"""The page in a real browser on the real server: every part of it is used once, by pointer and by keys.

Axes: R rows of the index.
"""

import base64
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from ecgjepa.leads import LEADS_8, LEADS_12
from ecgjepa.serve.served import Served
from tests.serve.browser import LAPTOP, TABLET, Watched, open_browser, watched_page
from tests.serve.conftest import CLASSES, RECORDS, Material
from tests.serve.test_api import parts_of

FILES = Path(__file__).parents[2] / "ecgjepa" / "serve" / "page"
LIGHT_RATIO = 4.5  # WCAG 2.2, AA


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def watched(browser: Browser, live_server: str) -> Iterator[Watched]:
    with watched_page(browser, live_server) as watched:
        yield watched


def drop(page: Page, paths: list[Path]) -> None:
    """What a browser does when files are dropped."""
    files = [[path.name, base64.b64encode(path.read_bytes()).decode()] for path in paths]
    page.evaluate(
        """(files) => {
          const data = new DataTransfer();
          const bytes = (text) => Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
          for (const [name, text] of files) data.items.add(new File([bytes(text)], name));
          for (const type of ["dragenter", "dragover", "drop"])
            document.body.dispatchEvent(new DragEvent(type, {dataTransfer: data, bubbles: true, cancelable: true}));
        }""",
        files,
    )


def check_analysis(page: Page, answer: dict[str, Any]) -> None:
    """Twelve leads, a bar with its threshold for each class, and the neighbours, all as the server says them."""
    expect(page.locator("#paper-title")).to_have_text(answer["record"])
    drawn = page.locator("#sheet .trace").evaluate_all("all => all.map((each) => each.dataset.lead)")
    assert sorted(drawn) == sorted([*LEADS_12, "II"])  # lead II once more below the others
    assert page.locator("#sheet .pulse").count() == 4
    bars = {
        bar.get_attribute("data-class"): (
            bar.locator(".number").inner_text(),
            bar.locator(".tick").get_attribute("title"),
            bar.locator(".verdict").inner_text(),
        )
        for bar in page.locator(".bar").all()
    }
    assert bars == {
        output["name"]: (
            f"{output['probability']:.2f}",
            f"threshold {output['threshold']:.2f}",
            "called" if output["called"] else "",
        )
        for output in answer["outputs"]
    }
    expect(page.locator(".card .miniature")).to_have_count(6)
    rows = page.locator(".card").evaluate_all("all => all.map((each) => Number(each.dataset.row))")
    assert rows == [neighbour["row"] for neighbour in answer["neighbours"]]


def test_files_are_opened_by_the_chooser_and_by_dropping_them(watched: Watched, material: Material) -> None:
    page = watched.open()
    with page.expect_response("**/api/ecgs") as answered:
        page.set_input_files("#files", parts_of(material.headers[3]))
    check_analysis(page, answered.value.json())
    with page.expect_response("**/api/ecgs") as answered:
        drop(page, parts_of(material.headers[4]))
    check_analysis(page, answered.value.json())
    expect(page.locator(".notice")).to_have_text("For research, not for diagnosis.")


def test_a_broken_file_gives_a_message_that_people_can_read(watched: Watched, tmp_path: Path) -> None:
    watched.refusals = (415, 422)
    page = watched.open("#row=2")
    title = page.locator("#paper-title")
    expect(title).not_to_have_text("No ECG is open")
    before = title.inner_text()
    for name, content, says in (
        ("cut.hea", b"cut 2 500 5000\ncut.dat 16 1000/mV 16 0 0 0 0 I\n", "both together"),
        ("letter.txt", b"Dear colleague", "no format that is read here"),
    ):
        broken = tmp_path / name
        broken.write_bytes(content)
        page.set_input_files("#files", broken)
        message = page.get_by_role("alert")
        expect(message).to_contain_text(name.split(".")[0])
        text = message.inner_text()
        assert says in text or "damaged" in text, text
        assert not re.search(r"[{}\[\]]|null|undefined|Error", text), text
    header, signal = tmp_path / "ell.hea", tmp_path / "ell.dat"
    header.write_text("ell 1 500 5000\nell.dat 16 1000/ell 16 0 0 -19876 0 I\n")
    signal.write_bytes(np.arange(5000, dtype="<i2").tobytes())
    page.set_input_files("#files", [header, signal])
    expect(message).to_contain_text("Give the unit")
    page.select_option("#hint-unit", "mV")  # what a file says is not replaced, and the page does not ask in circles
    page.get_by_role("button", name="Read again").click()
    expect(message).to_contain_text("did not help")
    page.keyboard.press("Escape")
    expect(message).to_be_hidden()
    assert title.inner_text() == before  # what was open stays


def test_a_file_that_leaves_something_out_is_asked_about_and_the_caliper_measures_its_pulse(
    watched: Watched, tmp_path: Path
) -> None:
    watched.refusals = (422,)
    page = watched.open()
    seconds = np.arange(5000) / 500
    edge = np.clip((0.24 - np.abs(seconds - 2.2)) / 0.04, 0, 1)  # half of it is reached 440 ms apart
    pulse_mv = (1 - np.cos(np.pi * edge)) / 2
    drift_mv = 0.003 * np.sin(2 * np.pi * 0.7 * seconds)  # else all that is not pulse would be padding
    np.save(tmp_path / "pulse.npy", np.stack([pulse_mv * (lead == "II") + drift_mv for lead in LEADS_8]))
    page.set_input_files("#files", tmp_path / "pulse.npy")
    answers = {"sampling_rate_hz": "500", "unit": "mV", "leads": ",".join(LEADS_8)}
    for _ in answers:  # the server asks for one after the other; the file stays
        expect(page.get_by_role("button", name="Read again")).to_be_enabled()
        page.wait_for_function(
            "() => !document.querySelector('#hints').hidden && document.querySelector('#busy').hidden"
        )
        for name, value in answers.items():
            control = page.locator(f"#hint-{name}")
            if control.is_visible() and not control.input_value():
                (control.select_option if name == "unit" else control.fill)(value)
        page.get_by_role("button", name="Read again").click()
        page.wait_for_function("() => document.querySelector('#busy').hidden")
        if page.locator("#paper-title").inner_text() != "No ECG is open":
            break
    expect(page.locator("#hints")).to_be_hidden()
    expect(page.locator(".foot")).to_contain_text("derived: III, aVR, aVL, aVF")

    points = np.array(
        [
            [float(number) for number in point.split(" ")]
            for point in re.split(
                "[ML]", page.locator('.trace[data-lead="II"][data-row="3"]').get_attribute("d") or ""
            )[1:]
        ]
    )
    x_mm, y_mm = points.T
    zero, top = np.median(y_mm), y_mm.min()
    high = x_mm[y_mm < (zero + top) / 2]
    for gain in (10, 20):
        page.get_by_role("radio", name=f"{gain} mm/mV").click()
        path = page.locator('.trace[data-lead="II"][data-row="3"]').get_attribute("d") or ""
        y_mm = np.array([float(point.split(" ")[1]) for point in re.split("[ML]", path)[1:]])
        corners = [[high.min(), np.median(y_mm)], [high.max(), y_mm.min()]]
        pixels = page.evaluate(
            """(corners) => { const m = document.querySelector('#sheet').getScreenCTM();
              return corners.map(([x, y]) => [m.a * x + m.e, m.d * y + m.f]); }""",
            corners,
        )
        page.mouse.move(*pixels[0])
        page.mouse.down()
        page.mouse.move(*pixels[1], steps=4)
        page.mouse.up()
        said = page.locator("#readout").inner_text()
        found = re.fullmatch(r"(\d+) ms \((\d+)/min\) · (\d\.\d\d) mV", said)
        assert found, said
        milliseconds, per_minute, millivolts = map(float, found.groups())
        assert abs(milliseconds - 440) <= 12, said
        assert abs(per_minute - 60_000 / milliseconds) <= 1, said
        assert abs(millivolts - 1) <= 0.04, said
    page.keyboard.press("Escape")
    expect(page.locator("#readout")).to_be_hidden()


def test_a_lasso_counts_the_labels_of_what_lies_inside(watched: Watched, served: Served, tmp_path: Path) -> None:
    page = watched.open("#row=1")
    page.get_by_role("tab", name="Map of the archive").click()
    page.wait_for_selector(".map-points[data-frame-ms]", state="attached")
    page.locator(".map-frame").scroll_into_view_if_needed()
    page.keyboard.press("l")
    box = page.locator(".map-frame").bounding_box()
    assert box is not None
    left, top, middle, bottom = box["x"] + 2, box["y"] + 2, box["x"] + box["width"] / 2, box["y"] + box["height"] - 2
    page.mouse.move(left, top)
    page.mouse.down()
    for corner in ((middle, top), (middle, bottom), (left, bottom)):
        page.mouse.move(*corner, steps=5)
    page.mouse.up()
    page.wait_for_selector(".group-labels")

    assert served.index is not None
    assert served.index.places_R2 is not None
    x_R = served.index.places_R2[:, 0]
    rows = np.flatnonzero(x_R < (x_R.min() + x_R.max()) / 2).tolist()  # the map is drawn around its middle
    assert 0 < len(rows) < RECORDS
    counts = Counter(label for row in served.index.records(rows) for label in row.labels)
    shown = page.locator(".group-labels li").evaluate_all(
        "all => all.map((each) => [each.dataset.label, +each.dataset.count])"
    )
    assert dict(shown) == dict(counts.most_common(len(shown)))
    expect(page.locator(".group h3")).to_contain_text(f"{len(rows)} ECGs")

    page.get_by_role("button", name="List the records").click()
    page.locator(".group-records button").first.click()
    expect(page).to_have_url(re.compile(rf"#row={rows[0]}$"))
    page.keyboard.press("Escape")
    expect(page.locator(".group-labels")).to_have_count(0)


def test_everything_can_be_done_with_keys(watched: Watched) -> None:
    page = watched.open()
    page.wait_for_selector("#record-3")
    for key in ("/", "ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    expect(page.locator("#paper-title")).not_to_have_text("No ECG is open")
    first = page.url
    assert first.endswith("#row=1")
    page.keyboard.press("j")
    expect(page).to_have_url(re.compile("#row=2$"))
    page.wait_for_function("() => document.querySelector('#records [aria-selected=true]')?.dataset.row === '2'")
    page.go_back()
    page.wait_for_function("() => document.querySelector('#records [aria-selected=true]')?.dataset.row === '1'")
    assert page.url == first

    page.keyboard.press("c")
    before = page.locator("#readout").inner_text()
    assert before.startswith("1,000 ms (60/min) · 1.00 mV")
    page.keyboard.press("Shift+ArrowRight")  # 5 mm are 200 ms
    assert page.locator("#readout").inner_text().startswith("1,200 ms (50/min) · 1.00 mV")
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    assert page.locator("#sheet .trace").count() == 12
    page.keyboard.press("+")
    assert page.locator(".zoom-text").inner_text() == "135%"
    page.keyboard.press("0")

    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("draw a lasso")
    page.keyboard.press("Escape")
    page.keyboard.press("g")  # the map opens; all points are in view
    expect(page.locator(".group h3")).to_contain_text(f"{RECORDS} ECGs")
    page.locator(".map-marks").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    expect(page.locator(".group-labels")).to_have_count(0)


def test_what_a_class_rests_on_is_shaded_and_turned_off(watched: Watched) -> None:
    page = watched.open("#row=5")
    page.wait_for_selector(".bar")
    with page.expect_response("**/api/records/5/occlusion*") as answered:
        page.locator(f'.bar[data-class="{CLASSES[1]}"]').click()
    answer = answered.value.json()
    page.wait_for_selector("#sheet .shades rect.for, #sheet .shades rect.against")
    page.keyboard.press("r")  # every lead at all times
    largest = max((abs(value), lead, at) for lead, fall in answer["fall"].items() for at, value in enumerate(fall))
    strongest = page.locator(f'.shades rect[data-lead="{largest[1]}"][fill-opacity="0.750"]')
    assert largest[2] // 2 * 2 in [int(each.get_attribute("data-patch") or -1) for each in strongest.all()]
    for kind, sign in (("for", 1), ("against", -1)):
        many = page.locator(f".shades rect.{kind}").count()
        stretches = [fall[::2] for fall in answer["fall"].values()]
        assert many == sum(sign * value >= 0.04 * largest[0] for fall in stretches for value in fall)
    expect(page.locator("#shading-legend")).to_contain_text(f"What {CLASSES[1]} rests on")
    page.keyboard.press("Escape")
    assert page.locator(".shades rect").count() == 0
    expect(page.locator('.bar[aria-pressed="true"]')).to_have_count(0)


def test_a_similar_ecg_is_compared_and_opened(watched: Watched) -> None:
    page = watched.open("#row=5")
    compare = page.get_by_role("button", name="Compare").first
    compare.click()
    expect(page.locator("#sheet .trace.second")).to_have_count(13)
    page.get_by_role("radio", name="Below", exact=True).click()
    expect(page.locator(".second-sheet .trace")).to_have_count(13)
    page.get_by_role("button", name="Stop comparing").click()
    expect(page.locator(".second-sheet")).to_have_count(0)
    card = page.locator(".card").first
    row = card.get_attribute("data-row")
    card.locator(".card-open").click()
    expect(page).to_have_url(re.compile(f"#row={row}$"))


def given(answer: dict[str, Any]) -> Callable[[Route], None]:
    """What the server would say, said in its place."""
    return lambda route: route.fulfill(json=answer)


# Every text and what lies behind it, as the browser computes them; that with the least contrast is told.
CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const known = {};
  const rgba = (colour) => (known[colour] ??= drawn(colour));
  const drawn = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const light = (colour) => [0.2126, 0.7152, 0.0722].reduce((sum, by, at) => sum + by * linear(colour[at] / 255), 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  const hasText = (each) => [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  const ratio = (each) => {
    const both = [light(rgba(getComputedStyle(each).color)), light(ground(each))];
    return [(Math.max(...both) + 0.05) / (Math.min(...both) + 0.05), each.className, each.textContent.slice(0, 30)];
  };
  const texts = [...document.querySelectorAll("body *:not(svg *)")].filter(
    (each) => each.checkVisibility() && !each.closest(":disabled") && hasText(each));
  return texts.map(ratio).sort((one, two) => one[0] - two[0])[0];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_laptop_and_tablet_light_and_dark(browser: Browser, live_server: str, scheme: Any, tmp_path: Path) -> None:
    with watched_page(browser, live_server, color_scheme=scheme) as watched:
        page = watched.open("#row=5")
        expect(page.locator(".card .miniature")).to_have_count(6)
        for size in (LAPTOP, TABLET):
            page.set_viewport_size({"width": size["width"], "height": size["height"]})
            for view in ("similar", "map"):
                page.keyboard.press(view[0])
                if view == "map":
                    page.wait_for_selector(".map-points[data-frame-ms]", state="attached")
                ratio, *where = page.evaluate(CONTRAST)
                assert ratio >= LIGHT_RATIO, (ratio, where)
                page.screenshot(path=tmp_path / f"{scheme}-{size['width']}-{view}.png")
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (size, view)
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        is_dark = sum(int(number) for number in re.findall(r"\d+", ground)[:3]) < 3 * 128
        assert is_dark == (scheme == "dark")
        for _ in range(2):  # from the system's to light to dark, whatever the system says
            page.keyboard.press("d")
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_a_hundred_thousand_points_are_drawn_and_hit(browser: Browser, live_server: str) -> None:
    with watched_page(browser, live_server) as watched:
        page = watched.page
        places = np.random.default_rng(0).standard_normal((100_000, 2)).round(4)
        places[7] = (9.0, 9.0)  # far from all others, in the upper right corner
        codes = np.arange(100_000) % 8
        answers = {
            "**/api/map": {"x": places[:, 0].tolist(), "y": places[:, 1].tolist()},
            "**/api/map/colours*": {"by": "label", "names": [*"abcdefg", "other"], "codes": codes.tolist()},
        }
        for pattern, answer in answers.items():
            page.route(pattern, given(answer))
        watched.open()
        page.keyboard.press("m")
        page.wait_for_selector(".map-points[data-frame-ms]", state="attached")
        page.locator(".map-frame").scroll_into_view_if_needed()
        frame = page.locator(".map-frame").bounding_box()
        assert frame is not None
        page.mouse.move(frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2)
        page.mouse.down()
        page.mouse.move(frame["x"] + frame["width"] / 2 - 60, frame["y"] + frame["height"] / 2 + 30, steps=12)
        page.mouse.up()
        page.wait_for_timeout(150)  # it rests, and is painted again
        points = page.locator(".map-points")
        assert float(points.get_attribute("data-paint-ms") or "inf") < 1000  # 25 to 120 ms on a busy core
        assert float(points.get_attribute("data-frame-ms") or "inf") < 200  # 6 to 12 ms there
        page.locator(".zoom button", has_text="Fit").last.click()
        scale = (frame["height"] - 48) / np.ptp(places[:, 1])
        left = frame["x"] + frame["width"] / 2 + scale * (9.0 - (places[:, 0].min() + 9.0) / 2)
        page.mouse.click(left, frame["y"] + 24)
        expect(page).to_have_url(re.compile("#row=7$"))


def test_a_token_is_asked_for_and_a_busy_server_is_asked_again(browser: Browser, live_server: str) -> None:
    with watched_page(browser, live_server) as watched:
        watched.refusals = (401, 429)
        page = watched.page
        sent: list[str | None] = []
        busy: list[str] = []

        def guard(route: Route) -> None:
            sent.append(route.request.headers.get("authorization"))
            problem = {"error": {"reason": "refused", "detail": "by the test", "record": None}}
            if sent[-1] != "Bearer right":
                route.fulfill(status=401, json=problem)
            elif "/records/1" in route.request.url and not busy:
                busy.append(route.request.url)
                route.fulfill(status=429, json=problem, headers={"Retry-After": "1"})
            else:
                route.continue_()

        page.route("**/api/**", guard)
        page.goto(f"{live_server}/#token=wrong&row=1")
        page.locator("#token-field").fill("right")
        page.keyboard.press("Enter")
        page.wait_for_selector("html[data-ready]")
        assert sent[:2] == ["Bearer wrong", "Bearer right"]
        assert page.url.endswith("#row=1")
        page.wait_for_selector(".bar")
        assert len(busy) == 1
        expect(page.get_by_role("alert")).to_be_hidden()


def test_no_part_of_the_page_is_large_or_from_elsewhere() -> None:
    for path in FILES.iterdir():
        text = path.read_text("utf-8")
        assert text.count("\n") <= 250, path.name
        assert set(re.findall(r"https?://[^\s\"')]+", text)) <= {"http://www.w3.org/2000/svg"}, path.name
        assert not re.search(r"\sstyle=|innerHTML", text), path.name
