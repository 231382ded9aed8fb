"""The kernels that measure the machine's limits do the work that they are timed for."""

from __future__ import annotations

import pytest

from octolite.errors import KernelError
from octolite.kernels import isa, jit, peak
from octolite.kernels.tile import Isa, Tile
from tests.kernels.assembly import count, hot_loop, uses

TILES = [(row, tile) for row in isa.ROWS for tile in peak.tiles_of(row) if row.needs]


@pytest.mark.parametrize(("row", "tile"), TILES, ids=[f"{r.name}-{t.name}" for r, t in TILES])
def test_every_step_of_a_block_is_in_the_loop(row: Isa, tile: Tile) -> None:
    """The compiler has neither merged equal steps nor moved them out."""
    text = jit.assembly(peak.tile_unit(tile), row, f"{row.arch}-unknown-linux-gnu")
    assert count(hot_loop(text, "peak", tile.mnemonic), tile.mnemonic) == uses(tile)


@pytest.mark.parametrize("threads", [1, 2])
def test_limits_of_this_machine(threads: int) -> None:
    found = peak.measure(threads)
    assert found is peak.measure(threads)
    assert (found.isa, found.threads) == (isa.current().name, threads)
    assert min(found.int8, found.float32, found.memory, *found.tiles.values()) > 0
    assert found.tiles.keys() == {tile.name for tile in peak.tiles_of(isa.current())}


def test_a_machine_whose_registers_have_no_name_here() -> None:
    with pytest.raises(KernelError, match="riscv"):
        jit.optimized(peak.tile_unit(isa.GENERIC.real), isa.GENERIC, "riscv64-unknown-linux-gnu")
