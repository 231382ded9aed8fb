"""Take a picture of a page with Chromium: ``python tools/screenshot.py IN.html OUT.png``."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
COLOURS = 256
"""Enough for a page, and less than half of the bytes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--size", default="1100x1500", help="of the window")
    parser.add_argument("--dark", action="store_true")
    options = parser.parse_args()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit("there is no Chromium (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory() as folder:
        command = [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            f"--user-data-dir={folder}", f"--screenshot={options.picture.absolute()}",
            f"--window-size={options.size.replace('x', ',')}",
            f"--blink-settings=preferredColorScheme={0 if options.dark else 1}",
            options.page.absolute().as_uri(),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
    small = Image.open(options.picture).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(options.picture, optimize=True)
    print(f"{options.picture}: {options.picture.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
