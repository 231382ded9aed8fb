"""Memory: nothing overlaps that lives at the same time, and little is wasted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from octolite.runtime.arena import ALIGNMENT, FOREVER, Block, allocate, assign

blocks = st.builds(
    lambda size, first, length: Block(size, first, first + length),
    st.integers(0, 5000),
    st.integers(-1, 30),
    st.integers(0, 12),
)


@given(st.lists(blocks, max_size=40))
def test_blocks_that_meet_do_not_overlap(items: list[Block]) -> None:
    offsets, total = assign(items)
    for i, a in enumerate(items):
        assert offsets[i] % ALIGNMENT == 0
        assert offsets[i] + a.size <= total
        for j in range(i):
            b = items[j]
            if a.meets(b) and a.size and b.size:
                assert offsets[i] + a.size <= offsets[j] or offsets[j] + b.size <= offsets[i]


def test_a_chain_needs_room_for_two() -> None:
    chain = [Block(1024, i, i + 1) for i in range(20)]
    assert assign(chain)[1] == 2048


def test_what_lives_forever_is_never_reused() -> None:
    offsets, _ = assign([Block(64, -1, FOREVER), Block(64, 3, 4), Block(64, 5, 6)])
    assert offsets[0] not in offsets[1:]
    assert offsets[1] == offsets[2]


def test_memory_is_aligned() -> None:
    assert all(allocate(n).ctypes.data % ALIGNMENT == 0 for n in (1, 64, 1000))
