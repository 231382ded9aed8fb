"""Data sets: folders, arrays, tables, records; what is damaged says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from octolite.errors import DataError, FormatError, UsageError
from octolite.evaluation.data import ONLY, Fields, open_data
from octolite.evaluation.tfrecord import TFRecord

RECORDED = Path(__file__).parents[1] / "data" / "evaluation"
"""Written by TensorFlow: tools/record_tfrecord.py."""


def picture(path: Path, value: int = 7) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(path)
    return path


def test_images_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "c10.png", "c9.png", ".hidden"):
        picture(tmp_path / "x.png").rename(tmp_path / name)
    data = open_data(tmp_path)
    assert list(data.names) == ["a.png", "b.png", "c10.png", "c9.png"]
    assert not data.labelled
    assert data.take([2, 0])[0].inputs[ONLY] == tmp_path / "c10.png"
    labelled = data.with_truths(["w", "x", "y", "z"]).take([3])
    assert (labelled[0].name, labelled[0].truth) == ("c9.png", "z")
    with pytest.raises(UsageError, match="4 samples and there are 3 labels"):
        data.with_truths(["w", "x", "y"])


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    for name in ("dog/1.png", "cat/2.png", "cat/1.png"):
        picture(tmp_path / name)
    data = open_data(tmp_path)
    assert data.classes == ("cat", "dog")
    assert [(s.name, s.truth) for s in data] == [
        ("cat/1.png", "cat"), ("cat/2.png", "cat"), ("dog/1.png", "dog")
    ]  # fmt: skip
    picture(tmp_path / "stray.png")
    with pytest.raises(UsageError, match=r"holds files \(stray.png\) and folders \(cat\)"):
        open_data(tmp_path)


def test_arrays(tmp_path: Path) -> None:
    x, y = np.arange(6.0).reshape(3, 2), np.arange(3)
    np.savez(tmp_path / "d.npz", images=x, labels=y, other=x)
    data = open_data(tmp_path / "d.npz")
    assert [(s.name, s.inputs[ONLY].tolist(), s.truth) for s in data] == [
        ("0", [0, 1], 0), ("1", [2, 3], 1), ("2", [4, 5], 2)
    ]  # fmt: skip
    both = open_data(tmp_path / "d.npz", Fields.parse(["a=images", "b=other"], "other"))
    assert sorted(both[0].inputs) == ["a", "b"]
    np.save(tmp_path / "d.npy", x)
    assert [s.truth for s in open_data(tmp_path / "d.npy")] == [None] * 3


def test_fields_that_are_not_there_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", pictures=np.zeros((2, 2)), targets=np.zeros(2))
    with pytest.raises(UsageError, match=r"which fields of .* are the input: pictures, targets"):
        open_data(tmp_path / "d.npz")
    with pytest.raises(UsageError, match="Did you mean 'pictures'"):
        open_data(tmp_path / "d.npz", Fields.parse(["picture"]))
    with pytest.raises(UsageError, match=r"should be FIELD\[,FIELD…\]"):
        Fields.parse(["a,,b"])


def test_arrays_that_differ_in_length(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=np.zeros((2, 2)), labels=np.zeros(3))
    with pytest.raises(UsageError, match="differ in their first extent"):
        open_data(tmp_path / "d.npz")


def test_a_damaged_archive_is_an_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=np.zeros((200, 20)))
    whole = (tmp_path / "d.npz").read_bytes()
    (tmp_path / "d.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match="cannot read"):
        open_data(tmp_path / "d.npz")


def test_a_table_of_numbers(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,label,b\n1,x,2\n3,y,oops\n4,z\n")
    data = open_data(tmp_path / "t.csv")
    assert data[0].inputs[ONLY].tolist() == [1, 2]
    assert data[0].truth == "x"
    with pytest.raises(DataError, match="'oops' is no number"):
        data[1]
    with pytest.raises(DataError, match="row 3 has 2 fields, expected 3"):
        data[2]
    swapped = open_data(tmp_path / "t.csv", Fields.parse(["b,a"], "label"))
    assert swapped[0].inputs[ONLY].tolist() == [2, 1]


def test_a_table_of_images(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file,label\npics/a.png,3\n")
    sample = open_data(tmp_path / "t.csv")[0]
    assert sample.inputs[ONLY] == tmp_path / "pics" / "a.png"


def test_data_that_is_nothing_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no data at"):
        open_data(tmp_path / "none")
    (tmp_path / "x.bin").write_bytes(b"")
    with pytest.raises(UsageError, match=r"\.npz, \.npy, \.csv, \.tfrecord"):
        open_data(tmp_path / "x.bin")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no files"):
        open_data(tmp_path / "empty")


# -- TFRecord --------------------------------------------------------------------------------------


def test_records_of_tensorflow() -> None:
    with np.load(RECORDED / "digits.npz") as arrays:
        images, labels = arrays["images"], arrays["labels"]
    record = TFRecord(RECORDED / "digits.tfrecord")
    assert len(record) == 3
    first = record[0]
    assert first["parts"] == [b"a", b"", b"\xff"]
    assert first["none"] == []
    np.testing.assert_array_equal(first["extremes"], [-(2**63), -1, 2**63 - 1])
    np.testing.assert_array_equal(first["pixels"], images[0].reshape(-1))
    data = open_data(RECORDED / "digits.tfrecord")  # image/encoded and image/class/label
    assert [s.truth for s in data] == labels.tolist()
    vectors = open_data(RECORDED / "digits.tfrecord", Fields.parse(["pixels"]))
    np.testing.assert_array_equal(vectors[2].inputs[ONLY], images[2].reshape(-1))


def test_each_byte_of_a_record_is_checked(tmp_path: Path) -> None:
    whole = (RECORDED / "digits.tfrecord").read_bytes()
    length = int.from_bytes(whole[:8], "little")
    path = tmp_path / "x.tfrecord"
    for at in range(12, 12 + length + 4, 37):  # data and its checksum
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        record = TFRecord(path)
        assert record[1]["none"] == []
        with pytest.raises(DataError, match="record 0 does not have its checksum"):
            record[0]
    for at in range(12):  # length and its checksum
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(FormatError, match=r"length of record 0 \(byte 0\)"):
            TFRecord(path)


def test_a_torn_record_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "x.tfrecord"
    path.write_bytes((RECORDED / "digits.tfrecord").read_bytes()[:-3])
    data = open_data(path)
    assert len(data) == 3
    assert data[1].truth is not None
    with pytest.raises(DataError, match="the file ends within record 2"):
        data[2]
