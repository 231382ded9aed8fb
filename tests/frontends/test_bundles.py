"""Checkpoints' files: checksums, tables, slices, strings, and what is damaged or hostile."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import octolite
from octolite.errors import FormatError, OctoliteError, UnsupportedError, UsageError
from octolite.frontends.savedmodel import proto
from octolite.frontends.savedmodel.bundle import Bundle, slice_key
from octolite.frontends.savedmodel.crc import crc32c, mask, unmask
from octolite.frontends.savedmodel.table import MAGIC, decompress, read_table

FOLDER = Path(__file__).parents[1] / "data" / "saved_models"


# -- checksums -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),  # RFC 3720, B.4
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_checksums_of_the_standard(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected


def bit_by_bit(data: bytes, state: int = 0) -> int:
    state ^= 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


@pytest.mark.parametrize("size", [1, 3, 255, 1024, 1027, 17000, 70001, 270005])
def test_large_data_have_the_checksum_of_single_bits(size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    assert crc32c(data) == bit_by_bit(data)
    assert crc32c(data[size // 3 :], crc32c(data[: size // 3])) == crc32c(data)


@given(st.integers(0, 2**32 - 1))
def test_masking_is_undone(checksum: int) -> None:
    assert unmask(mask(checksum)) == checksum


# -- tables ----------------------------------------------------------------------------------------


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def block(entries: list[tuple[int, bytes, bytes]], kind: int = 0, pack: Callable = bytes) -> bytes:
    """A block of (shared, rest of the key, value), with its trailer."""
    data = b"".join(varint(s) + varint(len(k)) + varint(len(v)) + k + v for s, k, v in entries)
    data = pack(data + bytes(4) + (1).to_bytes(4, "little"))
    checked = data + bytes([kind])
    return checked + mask(crc32c(checked)).to_bytes(4, "little")


def table(*blocks: bytes) -> bytes:
    """A table of ready-made blocks."""
    body, index = b"", []
    for i, data in enumerate(blocks):
        index.append((0, bytes([i + 1]), varint(len(body)) + varint(len(data) - 5)))
        body += data
    meta, main = block([]), block(index)
    handles = varint(len(body)) + varint(len(meta) - 5)
    handles += varint(len(body) + len(meta)) + varint(len(main) - 5)
    return body + meta + main + handles.ljust(40, b"\0") + MAGIC.to_bytes(8, "little")


def literal(data: bytes) -> bytes:
    """Snappy's form of data that it does not compress."""
    return varint(len(data)) + bytes([60 << 2, len(data) - 1]) + data


def test_keys_share_beginnings_and_blocks_are_joined() -> None:
    first = block([(0, b"abc", b"1"), (2, b"d", b"2"), (3, b"e", b"")])
    second = block([(0, b"b", b"3")], kind=1, pack=literal)
    found = read_table(table(first, second))
    assert found == {b"abc": b"1", b"abd": b"2", b"abde": b"", b"b": b"3"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not end as a table does"),
        (table(block([(1, b"a", b"")])), "reaches beyond its block"),
        (table(block([(0, b"b", b""), (0, b"a", b"")])), "out of order at 'a'"),
        (table(block([(0, b"a", b"")]), block([(0, b"a", b"")])), "out of order at 'a'"),
        (table(block([(0, b"a", b"")], kind=7)), "compressed in a way of number 7"),
        (table(block([(0, b"a", b"")])[:-1] + b"\0"), "does not have its checksum"),
        (table(block([(0, b"a", b"")], kind=1)), "compressed block"),
        (b"\0" * 40 + MAGIC.to_bytes(8, "little"), "reaches beyond the end"),
        (b"\xff" * 40 + MAGIC.to_bytes(8, "little"), "breaks off"),
    ],
)
def test_what_a_table_cannot_be(data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_table(data)


def test_keys_cannot_fill_the_memory() -> None:
    long = [(0, b"a" * 60000, b"")] + [(60000 + i, b"a", b"") for i in range(6000)]
    with pytest.raises(FormatError, match="more than 256 MiB"):
        read_table(table(block(long)))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x05\x10hello", b"hello"),
        (b"\x0a\x04ab\x0e\x02\x00" + b"\x01\x02", b"ab" * 5),  # 2-byte offset, then 1-byte
        (b"\x08\x04ab\x17\x02\x00\x00\x00", b"ab" * 4),
        (b"\x00", b""),
    ],
)
def test_snappy(data: bytes, expected: bytes) -> None:
    assert decompress(data) == expected


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_snappy_of_anything(data: bytes) -> None:
    try:
        found = decompress(data)
    except FormatError:
        return
    assert len(found) <= 64 * len(data)


# -- slices ----------------------------------------------------------------------------------------


def test_the_keys_of_slices_are_tensorflows() -> None:
    assert slice_key("tall", [(0, 6), (0, 10)]) == b"\x00tall\x00\x01\x01\x02\x80\x86\x80\x8a"
    assert slice_key("w", [(0, -1), (64, 8191)]) == b"\0w\0\1\1\2\x80\x7f\xc0\x40\xdf\xff"
    assert slice_key("w", [(8192, 0)]) == b"\0w\0\1\1\1\xe0\x20\x00\x80"


def partitioned() -> Bundle:
    return Bundle.open(FOLDER / "v1_partitioned" / "variables" / "variables")


def test_parts_of_a_tensor_in_slices() -> None:
    bundle = partitioned()
    whole = bundle.tensor("tall")
    assert whole.shape == (11, 10)
    np.testing.assert_array_equal(bundle.tensor("tall", "11 10 0,6:-"), whole[:6])
    np.testing.assert_array_equal(bundle.tensor("tall", "11 10 4,5:2,3"), whole[4:9, 2:5])
    assert bundle.tensor("wide", "10 9 -:-").shape == (10, 9)


@pytest.mark.parametrize("part", ["11 10 0,6", "10 11 -:-", "11 10 0,12:-", "11 10 a:-", "11 10"])
def test_parts_that_do_not_fit(part: str) -> None:
    with pytest.raises(OctoliteError, match=r"'tall' .* has shape \[11, 10\], of which"):
        partitioned().tensor("tall", part)


# -- what is damaged -------------------------------------------------------------------------------


KERNEL = b"first/kernel/.ATTRIBUTES/VARIABLE_VALUE"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of a small SavedModel."""
    return shutil.copytree(FOLDER / "nested_functions", tmp_path / "model")


def rewrite(folder: Path, change: Callable[[dict[bytes, bytes]], None]) -> None:
    """Change the index of a checkpoint, whose checksums are made anew."""
    path = folder / "variables" / "variables.index"
    entries = read_table(path.read_bytes())
    change(entries)
    path.write_bytes(table(block([(0, k, v) for k, v in sorted(entries.items())])))


def kernel(entries: dict[bytes, bytes], **fields: object) -> None:
    """Set fields of the entry of the first layer's kernel."""
    entry = proto.BundleEntryProto.FromString(entries[KERNEL])
    for name, value in fields.items():
        setattr(entry, name, value)
    entries[KERNEL] = entry.SerializeToString()


def resize(entries: dict[bytes, bytes], *extents: int) -> None:
    entry = proto.BundleEntryProto.FromString(entries[KERNEL])
    del entry.shape.dim[:]
    for extent in extents:
        entry.shape.dim.add(size=extent)
    entries[KERNEL] = entry.SerializeToString()


def slices(entries: dict[bytes, bytes], *spans: tuple[int, int]) -> None:
    entry = proto.BundleEntryProto.FromString(entries[KERNEL])
    extents = entry.slices.add().extent
    for start, length in spans:
        extents.add(start=start, length=length)
    entries[KERNEL] = entry.SerializeToString()


DAMAGES: dict[str, tuple[Callable[[dict[bytes, bytes]], None], str]] = {
    "checksum": (lambda e: kernel(e, crc32c=1), "'first/kernel.* do not have their checksum"),
    "offset": (lambda e: kernel(e, offset=1 << 40), "'first/kernel.*of a data file that has"),
    "negative": (lambda e: kernel(e, offset=-8), "'first/kernel.*bytes -8"),
    "size": (lambda e: kernel(e, size=12), "12 bytes are no float32 elements of shape"),
    "shard": (lambda e: kernel(e, shard_id=5), "lies in data file 5 of 1"),
    "type": (lambda e: kernel(e, dtype=8), "DT_COMPLEX64 has no counterpart"),
    "no type": (lambda e: kernel(e, dtype=99), "number 99 has no counterpart"),
    "string": (lambda e: kernel(e, dtype=7), "it holds no 1024 strings|are no"),
    "extent": (lambda e: resize(e, -5), "negative extent"),
    "huge": (lambda e: resize(e, 1 << 40, 1 << 40), "larger than a .tflite file"),
    "unknown": (lambda e: resize(e, -1), "its shape is"),
    "other shape": (lambda e: resize(e, 64, 16), "not fit|16"),
    "slice": (lambda e: slices(e, (0, 16), (0, 64)), "its slice .* is missing"),
    "outside": (lambda e: slices(e, (0, 16), (60, 64)), "it has a slice"),
    "few slices": (lambda e: slices(e, (0, 16), (0, 4)), "not all of shape"),
    "entry": (lambda e: e.update({KERNEL: b"\xff"}), "BundleEntry"),
    "gone": (lambda e: e.pop(KERNEL), "has no tensor 'first/k"),
    "header": (lambda e: e.pop(b""), "speaks of 0 data files"),
    "endian": (lambda e: e.update({b"": b"\x08\x01\x10\x01"}), "big-endian"),
    "shards": (lambda e: e.update({b"": b"\x08\x02"}), "00000-of-00002' cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_refused(name: str, folder: Path) -> None:
    change, message = DAMAGES[name]
    rewrite(folder, change)
    with pytest.raises(OctoliteError, match=message):
        octolite.convert(folder)


def test_an_index_written_anew_is_read(folder: Path) -> None:
    before = octolite.convert(folder)
    rewrite(folder, lambda entries: None)
    assert octolite.convert(folder) == before


@pytest.mark.parametrize("file", ["variables.index", "variables.data-00000-of-00001"])
def test_a_missing_file_is_named(file: str, folder: Path) -> None:
    (folder / "variables" / file).unlink()
    with pytest.raises(FormatError, match=f"{file}' cannot be read: No such file"):
        octolite.convert(folder)


@pytest.mark.parametrize("name", ["nested_functions", "v1_partitioned", "vocabulary"])
def test_truncated_files_are_refused_or_complete(name: str, tmp_path: Path) -> None:
    """Every file cut at several places; each time an Octolite error, or the same result."""
    folder = shutil.copytree(FOLDER / name, tmp_path / "model")
    whole = octolite.convert(folder)
    for path in [p for p in folder.rglob("*") if p.is_file()]:
        data = path.read_bytes()
        for size in np.linspace(0, len(data) - 1, 12, dtype=int).tolist():
            path.write_bytes(data[:size])
            try:
                found = octolite.convert(folder)
            except OctoliteError:
                continue
            assert found == whole or "assets" in path.parts
        path.write_bytes(data)


@pytest.mark.parametrize("name", ["nested_functions", "v1_resources", "counter"])
def test_any_changed_bit_of_the_variables_is_found(name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER / name, tmp_path / "model")
    whole, rng = octolite.convert(folder), np.random.default_rng(0)
    for path in (folder / "variables").iterdir():
        data = path.read_bytes()
        for at in rng.integers(0, len(data), 25).tolist():
            path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
            with contextlib.suppress(OctoliteError):
                assert octolite.convert(folder) == whole  # what nobody reads
        path.write_bytes(data)


def test_a_checkpoint_of_version_1_is_told(tmp_path: Path) -> None:
    meta = next((FOLDER / "v1_checkpoint").glob("*.meta"))
    shutil.copy(meta, tmp_path / "model.meta")
    (tmp_path / "model").write_bytes(table(block([(0, b"a", b"")])))
    with pytest.raises(FormatError, match="model' is a checkpoint of version 1; restore it"):
        octolite.convert(tmp_path / "model.meta", output_arrays=["probabilities"])


# -- what a MetaGraph may say ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nested_functions", "counter", "v1_recurrent", "v1_partitioned"])
def test_changed_bytes_of_the_graph_end_in_a_result_or_an_error(name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER / name, tmp_path / "model")
    path, rng = folder / "saved_model.pb", np.random.default_rng(1)
    data = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(60):
        changed = data.copy()
        at = rng.integers(0, len(data), 4)
        changed[at] = rng.integers(0, 256, 4)
        path.write_bytes(changed.tobytes())
        with contextlib.suppress(OctoliteError):
            octolite.convert(folder)


def change_graph(folder: Path, change: Callable[[object], None]) -> None:
    path = folder / "saved_model.pb"
    message = proto.SavedModel.FromString(path.read_bytes())
    change(message.meta_graphs[0])
    path.write_bytes(message.SerializeToString())


def call_itself(meta_graph) -> None:
    for function in meta_graph.graph_def.library.function:
        for node in function.node_def:
            if "f" in node.attr:
                node.attr["f"].func.name = function.signature.name


def lose_the_restore(meta_graph) -> None:
    meta_graph.saver_def.restore_op_name = ""


def no_such_output(meta_graph) -> None:
    meta_graph.signature_def["embed"].outputs["mean"].name = "nowhere:0"


def no_signatures(meta_graph) -> None:
    for key in list(meta_graph.signature_def):
        del meta_graph.signature_def[key]


def a_sparse_input(meta_graph) -> None:
    meta_graph.signature_def["embed"].inputs["image"].name = ""


def no_such_function(meta_graph) -> None:
    del meta_graph.graph_def.library.function[:]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (call_itself, UnsupportedError, "nested more than 100 deep|takes"),
        (lose_the_restore, UnsupportedError, "VarHandleOp"),
        (no_such_output, OctoliteError, "nowhere"),
        (no_signatures, UsageError, "saved without signatures"),
        (a_sparse_input, UnsupportedError, "'image' of the signature is a sparse"),
        (no_such_function, OctoliteError, "which the function library lacks"),
    ],
)
def test_a_metagraph_that_cannot_be(change, error, message: str, folder: Path) -> None:
    change_graph(folder, change)
    with pytest.raises(error, match=message):
        octolite.convert(folder)


def test_an_asset_stays_within_the_model(tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER / "vocabulary", tmp_path / "model")
    (tmp_path / "secret.txt").write_text("word")

    def point_outside(meta_graph) -> None:
        meta_graph.asset_file_def[0].filename = "../../secret.txt"

    change_graph(folder, point_outside)
    with pytest.raises(FormatError, match="lies outside the model's folder"):
        octolite.convert(folder)
