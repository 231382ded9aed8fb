"""Files that are broken, hostile or hold what cannot be converted; and custom layers."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import pickle
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import octolite
from octolite import keras
from octolite.errors import (
    FormatError,
    InvalidGraphError,
    OctoliteError,
    UnsupportedError,
    UsageError,
)
from octolite.frontends.keras import CUSTOM, LAYERS, load
from octolite.frontends.keras.activations import ACTIVATIONS
from tests.frontends.keras.recorded import ALL, Recording
from tests.frontends.test_recorded import run

Change = Callable[[h5py.File], object]


def layer(class_name: str, name: str, **config: Any) -> dict[str, Any]:
    module = "keras.layers" if class_name in LAYERS else "here"
    return {"module": module, "class_name": class_name, "registered_name": None,
            "config": {"name": name, **config}}  # fmt: skip


def dense(name: str = "dense", units: int = 3, **config: Any) -> dict[str, Any]:
    return layer("Dense", name, units=units, activation="linear", use_bias=True, **config)


def chain(*layers: dict[str, Any], shape: Any = (None, 4)) -> dict[str, Any]:
    given = layer("InputLayer", "x", batch_shape=list(shape), dtype="float32")
    return layer("Sequential", "chain", layers=[given, *layers])


def weights(*shapes: tuple[int, ...], where: str = "layers/dense") -> Change:
    def write(file: h5py.File) -> None:
        for number, shape in enumerate(shapes):
            file[f"{where}/vars/{number}"] = np.ones(shape, np.float32)

    return write


DENSE = weights((4, 3), (3,))


def archive(
    config: Any, fill: Change | bytes = DENSE, compression: int = zipfile.ZIP_STORED
) -> bytes:
    """A .keras file, whose weights are written by ``fill`` or given."""
    held = io.BytesIO(fill if isinstance(fill, bytes) else b"")
    if not isinstance(fill, bytes):
        with h5py.File(held, "w") as file:
            fill(file)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as content:
        text = config if isinstance(config, str) else json.dumps(config)
        content.writestr("config.json", text)
        content.writestr("metadata.json", '{"keras_version": "3.9.0"}')
        content.writestr("model.weights.h5", held.getvalue())
    return out.getvalue()


def first(model: Any, **feeds: np.ndarray) -> np.ndarray:
    return next(iter(run(model, feeds).values()))


@pytest.fixture(autouse=True)
def _restore_tables() -> Any:
    tables: list[dict[str, Any]] = [CUSTOM, ACTIVATIONS]
    before = [dict(table) for table in tables]
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


# -- what a file may be ----------------------------------------------------------------------


def test_a_small_archive_is_read() -> None:
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        model = load(archive(chain(dense()), compression=compression))
        found = first(model, x=np.full((2, 4), 2, np.float32))
        np.testing.assert_array_equal(found, np.full((2, 3), 9, np.float32))


def test_paths_and_bytes_give_the_same(tmp_path: Path) -> None:
    content = archive(chain(dense()))
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    assert octolite.convert(path) == octolite.convert(content)


@pytest.mark.parametrize("size", [10, 200, 1000, 5000])
def test_cut_files_are_refused(size: int) -> None:
    for recording in (r for r in ALL if r.name == "sequential"):
        with pytest.raises(OctoliteError):
            octolite.convert(recording.content[:size])


def test_changed_bytes_end_in_a_result_or_an_error() -> None:
    rng = np.random.default_rng(0)
    for recording in (r for r in ALL if r.name == "nested" and r.kind == "keras"):
        content = bytearray(recording.content)
        config = content.find(b'{"module"')
        for at in config + rng.integers(0, 4000, 150):
            damaged = bytearray(content)
            damaged[at] = rng.integers(32, 127)
            try:
                load(bytes(damaged))
            except OctoliteError as error:
                assert str(error)  # noqa: PT017


ODD = (None, 0, -1, 2**40, 1.5, "", [], {}, [1], True, ["x", 0, 0], {"class_name": "Dense"})


def places(item: Any) -> Iterator[tuple[Any, Any]]:
    """Each place in nested lists and objects: what holds it, and its key."""
    for key, value in item.items() if isinstance(item, dict) else enumerate(item):
        yield item, key
        if isinstance(value, dict | list):
            yield from places(value)


@pytest.mark.parametrize("name", ["nested", "recurrent_masked", "attention", "preprocessing"])
def test_odd_configurations_end_in_a_result_or_an_error(name: str) -> None:
    rng = random.Random(name)
    for version in (2, 3):
        with zipfile.ZipFile(io.BytesIO(Recording(name, version, "keras").content)) as content:
            text, held = content.read("config.json"), content.read("model.weights.h5")
        for _ in range(25):
            config = json.loads(text)
            for _ in range(2):
                where, key = rng.choice(list(places(config)))
                where[key] = copy.deepcopy(rng.choice(ODD))
            with contextlib.suppress(OctoliteError):
                load(archive(config, held))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("[" * 100_000, "no JSON"),
        ("[]", "expected an object"),
        ("{}", "without class_name"),
        ({"class_name": "Sequential"}, "no layers|says nothing|called by Python"),
        (layer("Functional", "f", layers=[]), "no layers"),
        (chain(dense(), dense()), "two layers called 'dense'"),
        (chain(dense(units="many")), "units is 'many', expected"),
        (chain(dense(units=0)), "units is 0"),
        (chain(dense(units=7)), "'kernel' has shape .*expected .4, 7."),
        (chain(dense(), shape=(None, 5)), "'kernel' has shape .*expected .5, 3."),
        (chain(dense(), shape=(None, -4)), "declares the shape"),
        (chain(layer("Dense", "dense")), "has no 'units'"),
    ],
)  # fmt: skip
def test_broken_configurations_name_the_layer(config: Any, message: str) -> None:
    with pytest.raises((FormatError, InvalidGraphError, UnsupportedError), match=message):
        load(archive(config))


def test_calls_that_need_each_other_are_found() -> None:
    def node(name: str) -> list[Any]:
        history = {"shape": [None, 3], "dtype": "float32", "keras_history": [name, 0, 0]}
        tensor = {"class_name": "__keras_tensor__", "config": history}
        return [{"args": [tensor], "kwargs": {}}]

    given = layer("InputLayer", "x", batch_shape=[None, 3], dtype="float32") | {"inbound_nodes": []}
    a, b = (layer("ReLU", n) | {"inbound_nodes": node(m)} for n, m in (("a", "b"), ("b", "a")))
    model = layer("Functional", "f", layers=[given, a, b], input_layers=[["x", 0, 0]],
                  output_layers=[["a", 0, 0]])  # fmt: skip
    with pytest.raises(InvalidGraphError, match="need each other"):
        load(archive(model))


# -- weights that are not what they should be -------------------------------------------------


def _linked(link: Any) -> Change:
    def write(file: h5py.File) -> None:
        weights((4, 3))(file)
        file["layers/dense/vars/1"] = link

    return write


def _external(file: h5py.File) -> None:
    weights((4, 3))(file)
    file.create_dataset("layers/dense/vars/1", (3,), "f4", external=[("/etc/hostname", 0, 12)])


def _virtual(file: h5py.File) -> None:
    weights((4, 3))(file)
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "w", (3,))
    file.create_virtual_dataset("layers/dense/vars/1", layout)


def _objects(file: h5py.File) -> None:
    weights((4, 3))(file)
    file["layers/dense/vars/1"] = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (weights((4, 3)), "weight 'bias': the file has no"),
        (weights((4, 3), (4,)), "'bias' has shape .4,., expected .3,?."),
        (_linked(h5py.ExternalLink("/etc/passwd", "/")), "link to elsewhere"),
        (_linked(h5py.SoftLink("/layers/dense/vars/0")), "link to elsewhere"),
        (_external, "lies in another file"),
        (_virtual, "lies in another file"),
        (_objects, "expected numbers"),
    ],
)
def test_weights_are_checked(fill: Change, message: str) -> None:
    with pytest.raises(InvalidGraphError, match=message):
        load(archive(chain(dense()), fill))


def test_arrays_that_the_file_does_not_hold_are_counted() -> None:
    def claim(file: h5py.File) -> None:
        for number in (0, 1):
            file.create_dataset(f"layers/dense/vars/{number}", (1 << 15, 1 << 15)[: 2 - number],
                                "f4", chunks=True, compression="gzip")  # fmt: skip

    units = 1 << 15
    content = archive(chain(dense(units=units), shape=(None, units)), claim)
    assert len(content) < 1 << 20
    with pytest.raises(UnsupportedError, match="more than the file has"):
        load(content)


def test_weights_alone_are_no_model() -> None:
    held = io.BytesIO()
    with h5py.File(held, "w") as file:
        weights((4, 3))(file)
    with pytest.raises(FormatError, match="no model_config"):
        octolite.convert(held.getvalue())
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as content:
        content.writestr("a", "b")
    with pytest.raises(FormatError, match=r"no config\.json"):
        octolite.convert(out.getvalue())


def test_code_in_a_file_is_never_run(tmp_path: Path) -> None:
    trap = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> Any:
            return (trap.write_text, ("ran",))

    code = {"class_name": "__lambda__", "config": {"code": pickle.dumps(Trap()).hex()}}
    with pytest.raises(UnsupportedError, match="Lambda holds Python code"):
        load(archive(chain(layer("Lambda", "trap", function=code))))
    assert not trap.exists()


# -- what cannot be converted, and what programs say of it ------------------------------------


def test_all_that_is_unknown_is_reported_together() -> None:
    layers = (
        layer("Lambda", "first"), layer("Swirl", "second"), dense(),
        layer("Lambda", "third"), layer("Activation", "fourth", activation="wavy"),
    )  # fmt: skip
    with pytest.raises(UnsupportedError) as caught:
        load(archive(chain(*layers)))
    for part in ("'first', 'third'", "'second'", "Swirl", "keras.lowering"):
        assert part in str(caught.value)


def test_a_custom_layer_gets_its_lowering() -> None:
    @keras.lowering("Scale", weights="factor")
    def scale(call: keras.Call, x: Any) -> Any:
        y = call.op("MUL", x, call.weight("factor", 4))
        return call.op("ADD", y, call.number("shift"))

    content = archive(
        chain(layer("Scale", "scale", shift=0.5)), weights((4,), where="layers/scale")
    )
    found = first(load(content), x=np.full((2, 4), 3, np.float32))
    np.testing.assert_array_equal(found, np.full((2, 4), 3.5, np.float32))


def test_one_lambda_gets_its_lowering() -> None:
    @keras.lowering("Lambda:double")
    def double(call: keras.Call, x: Any) -> Any:
        return call.op("ADD", x, x)

    content = archive(chain(layer("Lambda", "double")))
    found = first(load(content), x=np.ones((1, 4), np.float32))
    np.testing.assert_array_equal(found, np.full((1, 4), 2, np.float32))
    with pytest.raises(UnsupportedError, match="'other'"):
        load(archive(chain(layer("Lambda", "other"))))


def test_a_custom_activation() -> None:
    @keras.activation("wavy")
    def wavy(call: keras.Call, x: Any) -> Any:
        return call.op("SIN", x)

    content = archive(chain(layer("Activation", "a", activation="pack>wavy")))
    found = first(load(content), x=np.ones((1, 4), np.float32))
    np.testing.assert_allclose(found, np.full((1, 4), np.sin(1)), rtol=1e-6)


def test_what_a_lowering_does_wrong_names_the_layer() -> None:
    @keras.lowering("Scale")
    def scale(call: keras.Call, x: Any) -> Any:
        return x.nonsense

    with pytest.raises(InvalidGraphError, match=r"'scale' \(Scale\)"):
        load(archive(chain(layer("Scale", "scale"))))


# -- what the caller asks for -----------------------------------------------------------------


def test_names_and_shapes() -> None:
    content = Recording("nested", 3, "keras").content
    model = load(content, input_shapes={"x": [1, 6, 4]}, output_arrays=["shared"])
    assert model.main.inputs[0].shape == (1, 6, 4)
    assert list(model.signatures[0].outputs) == ["shared"]
    assert [v.name for v in load(content, input_arrays=["y", "x"]).main.inputs] == ["y", "x"]
    wrong: list[dict[str, Any]] = [
        {"input_shapes": {"z": [1]}}, {"input_shapes": {"x": [1, 7, 4]}},
        {"output_arrays": ["sharde"]}, {"output_arrays": []}, {"input_arrays": ["x"]},
    ]  # fmt: skip
    for options in wrong:
        with pytest.raises(UsageError):
            load(content, **options)


def test_results_have_the_names_of_the_model() -> None:
    model = load(Recording("named_outputs", 3, "keras").content)
    assert list(model.signatures[0].outputs) == ["first", "second"]
    assert list(model.signatures[0].inputs) == ["x", "y"]


def test_missing_files() -> None:
    with pytest.raises(UsageError, match="cannot read"):
        load("/nowhere/model.keras")
