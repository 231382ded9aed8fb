"""Pages in a real browser: Chromium without a window, where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import octolite
from octolite.evaluation.compare import compare
from octolite.evaluation.report import distributions, render
from octolite.evaluation.sensitivity import sensitivity
from tests.evaluation.networks import classifier, images
from tests.evaluation.pages import Parsed
from tests.evaluation.test_report import HOSTILE, hostile

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
SECONDS = 60

pytestmark = pytest.mark.skipif(not BROWSER, reason="there is no Chromium (Debian: chromium)")


def browse(page: Path, folder: Path, *flags: str) -> str:
    """What the browser prints."""
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--disable-dev-shm-usage", f"--user-data-dir={folder / 'profile'}", *flags, page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    return done.stdout


def shown(text: str, folder: Path, script: str = "") -> Parsed:
    """The document once it has run, and ``script`` with it, for which the page's policy is
    lifted."""
    if script:
        text = re.sub("<meta http-equiv[^>]*>", "", text)
        text = text.replace("</body>", f"<script>{script}</script></body>")
    path = folder / "page.html"
    path.write_text(text)
    dom = browse(path, folder, "--virtual-time-budget=3000", "--dump-dom")
    return Parsed(dom.strip())


@pytest.fixture(scope="module")
def report() -> str:
    plain = classifier()
    small = octolite.convert(plain)
    x = images(2)
    return render(
        compare(plain, small, x), sensitivity(plain, "dynamic", x), distributions(plain, small)
    )


def numbers(rows: list[list[str]], column: int) -> list[float]:
    said = [row[column].replace("−", "-").replace("∞", "inf").rstrip(" %") for row in rows]
    return [float(text) for text in said if text != "–"]


def test_tables_are_sorted_by_clicks(report: str, tmp_path: Path) -> None:
    click = "document.querySelector('#sensitivity th:nth-child(7) button').click();"
    before = shown(report, tmp_path).table("rank")
    once = shown(report, tmp_path, click).table("rank")
    twice = shown(report, tmp_path, click * 2).table("rank")
    falling = sorted(numbers(before, 6), reverse=True)
    assert numbers(once, 6) == falling
    assert numbers(twice, 6) == falling[::-1]
    assert sorted(once) == sorted(before) == sorted(twice)


def test_names_are_sorted_as_text_and_what_is_unknown_stays_last(
    report: str, tmp_path: Path
) -> None:
    names = "document.querySelector('#layers figure:last-of-type th:nth-child(2) button').click();"
    rows = shown(report, tmp_path, names).table("#", "layer")
    assert [row[1] for row in rows] == sorted((row[1] for row in rows), key=str.casefold)
    weights = names.replace("nth-child(2)", "nth-child(5)")
    for script in (weights, weights * 2):
        column = [row[4] for row in shown(report, tmp_path, script).table("#", "layer")]
        assert "–" in column
        assert set(column[column.index("–") :]) == {"–"}


def test_long_tables_are_folded_until_they_are_asked_for(report: str, tmp_path: Path) -> None:
    table = '<div class="wide"><table'
    folded = report.replace(f"{table}>", f'{table} class="folded" data-shown="2">')

    def hidden(text: str, script: str = "") -> tuple[int, int]:
        """Tables that are folded, and rows that are behind."""
        tags = shown(text, tmp_path, script).tags
        classes = [str(a.get("class")) for tag, a in tags if tag in ("table", "tr")]
        return classes.count("folded"), classes.count("past")

    assert hidden(report) == (0, 0)
    tables, rows = hidden(folded)  # the page's own script did it: its policy lets it run
    assert tables > 1
    assert rows > tables
    last = re.findall('id="(layer-[0-9]+)"', report)[-1]
    assert hidden(folded, f"location.hash = '{last}'; reveal();")[0] == tables - 1
    assert hidden(folded, "location.hash = 'layer-0'; reveal();")[0] == tables


def test_hostile_names_do_nothing(tmp_path: Path) -> None:
    name = " ".join(HOSTILE)
    plain = hostile(name)
    small = octolite.convert(plain)
    text = render(compare(plain, small), distributions(plain, small), title="plain")
    for script in ("", ";"):  # with the page's policy, and without
        seen = shown(text, tmp_path, script)
        assert "plain · Octolite" in seen.texts
        assert not seen.of("img")
        assert any(name in str(a.get("title")) for _, a in seen.tags)


def test_pages_are_drawn_for_light_and_dark(report: str, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(report)
    seen = []
    for name, flag in (("light", "--blink-settings=preferredColorScheme=1"),
                       ("dark", "--blink-settings=preferredColorScheme=0")):  # fmt: skip
        picture = tmp_path / f"{name}.png"
        browse(path, tmp_path, flag, f"--screenshot={picture}", "--window-size=1240,1600")
        seen.append(np.asarray(Image.open(picture).convert("RGB"), int))
    light, dark = seen
    assert light.shape == dark.shape == (1600, 1240, 3)
    assert light[2, 2].min() > 200
    assert dark[2, 2].max() < 60
    for pixels in seen:  # texts stand out from the ground, drawings have their colours
        assert np.ptp(pixels) > 200
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100
        pink = (pixels[..., 0] > pixels[..., 1] + 60) & (pixels[..., 2] > pixels[..., 1] + 20)
        assert pink.sum() > 200


def test_nothing_sticks_out_of_a_narrow_window(report: str, tmp_path: Path) -> None:
    script = "document.title = document.documentElement.scrollWidth <= innerWidth;"
    path = tmp_path / "narrow.html"
    path.write_text(
        re.sub("<meta http-equiv[^>]*>", "", report).replace(
            "</body>", f"<script>{script}</script>"
        )
    )
    dom = browse(path, tmp_path, "--window-size=500,900", "--dump-dom")
    assert "<title>true</title>" in dom
