"""Reading what the compiler made of a kernel."""

from __future__ import annotations

import re

from octolite.kernels.tile import Tile

JUMP = r"\n\.L\w+:.*|\n\t(?:j\w+|b(?:\.\w+)?|t?cbn?z|tbn?z)\t.*"


def function(text: str, name: str) -> str:
    return text.split(f"\n{name}:", 1)[1].split(".Lfunc_end", 1)[0]


def hot_loop(text: str, block: str, mnemonic: str) -> list[str]:
    """The longest stretch between labels or jumps that uses ``mnemonic``."""
    stretches = [s.splitlines() for s in re.split(JUMP, function(text, block))]
    return max(stretches, key=lambda lines: count(lines, mnemonic))


def count(lines: list[str], mnemonic: str) -> int:
    return sum(is_use(line, mnemonic) for line in lines)


def is_use(line: str, mnemonic: str) -> bool:
    return line.strip().removeprefix("{vex}").strip().startswith(mnemonic)


def spilled(lines: list[str]) -> list[str]:
    return [line for line in lines if re.search(r"rsp|\[sp", line)]


def uses(tile: Tile) -> int:
    """How often the innermost loop of the highest block uses the tile's instruction."""
    in_a_step = 2 if tile.mnemonic == "smmla" else 1
    return tile.heights[-1] // tile.rows * tile.vectors * in_a_step
