"""Who runs: Octolite, LiteRT, and ONNX Runtime and OpenVINO where they are installed.

Each is called through its Python interface, with inputs and outputs in place, so that a run is
one call.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import octolite
from octolite.ir.graph import Graph, Model, Value
from octolite.ir.types import FLOAT32
from octolite.ops.fully_connected import FullyConnected
from octolite.tflite import read, write


@dataclass(frozen=True)
class Form:
    """One of the ways in which ONNX Runtime's ``quantize_dynamic`` stores weights.

    ``reduced``: in 7 bits, which its documentation advises for signed weights on CPUs without
    VNNI, where sums of two products saturate otherwise.
    """

    per_channel: bool
    signed: bool
    reduced: bool = False

    def __str__(self) -> str:
        bits, sign = 7 if self.reduced else 8, "signed" if self.signed else "unsigned"
        return f"{bits} bits {sign}, a scale per {'channel' if self.per_channel else 'tensor'}"

    def apply(self, model: Any) -> bytes:
        """The quantized model."""
        from onnxruntime.quantization import QuantType, quantize_dynamic

        logging.getLogger().setLevel(logging.ERROR)  # it recommends what is done already
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "model.onnx"
            quantize_dynamic(
                model,
                target,
                per_channel=self.per_channel,
                reduce_range=self.reduced,
                weight_type=QuantType.QInt8 if self.signed else QuantType.QUInt8,
            )
            return target.read_bytes()


@dataclass
class Files:
    """One model in all the forms that contenders read. ``plain`` and ``quantized`` are bytes of
    ``.tflite`` files; a model in codes throughout has the first alone."""

    plain: bytes
    quantized: bytes
    _quantized: dict[Form, bytes] = field(default_factory=dict)

    @cached_property
    def onnx(self) -> Any:
        """Raises :class:`NotImplementedError` for operators that are not exported."""
        from benchmarks.onnx_export import export

        return export(read(self.plain).main)

    def onnx_quantized(self, form: Form) -> bytes:
        """The ONNX model with weights in 8 bits and activations quantized as it runs."""
        if form not in self._quantized:
            self._quantized[form] = form.apply(self.onnx)
        return self._quantized[form]


class Runner(Protocol):
    """A model that is loaded: its input is set, it is run, its first output is read."""

    def feed(self, sample: np.ndarray) -> None: ...
    def invoke(self) -> object: ...
    def result(self) -> np.ndarray: ...


class TfLite:
    """LiteRT's interpreter, or ours, which has the same interface."""

    def __init__(self, interpreter: Any) -> None:
        self.interpreter = interpreter
        interpreter.allocate_tensors()
        self.source = interpreter.get_input_details()[0]["index"]
        self.target = interpreter.get_output_details()[0]["index"]
        self.invoke = interpreter.invoke

    def feed(self, sample: np.ndarray) -> None:
        """Set the input and forget what earlier runs left in variables."""
        self.interpreter.reset_all_variables()
        self.interpreter.set_tensor(self.source, sample)

    def result(self) -> np.ndarray:
        return np.array(self.interpreter.get_tensor(self.target))


class OnnxRuntime:
    """A session whose input and output are bound once. ``form``: how its model was quantized."""

    form = ""

    def __init__(self, model: bytes, threads: int, sample: np.ndarray) -> None:
        import onnxruntime

        from benchmarks.onnx_export import channels_first

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        self.binding = self.session.io_binding()
        value = onnxruntime.OrtValue.ortvalue_from_numpy
        target = self.session.get_outputs()[0]
        # The values lie in the memory of these arrays.
        self.memory = (channels_first(sample).copy(), np.zeros(target.shape, np.float32))
        self.input, self.output = map(value, self.memory)
        self.binding.bind_ortvalue_input(self.session.get_inputs()[0].name, self.input)
        self.binding.bind_ortvalue_output(target.name, self.output)

    def feed(self, sample: np.ndarray) -> None:
        from benchmarks.onnx_export import channels_first

        self.input.update_inplace(channels_first(sample))

    def invoke(self) -> object:
        return self.session.run_with_iobinding(self.binding)

    def result(self) -> np.ndarray:
        from benchmarks.onnx_export import channels_last

        return channels_last(self.output.numpy().copy())


class OpenVino:
    """A request to a model that is compiled for latency, in float32."""

    def __init__(self, path: Path, threads: int, sample: np.ndarray) -> None:
        import openvino

        core = openvino.Core()
        model = core.read_model(path)
        self.images_turned = path.suffix == ".onnx"
        shape = _as_read(sample, self.images_turned).shape
        model.reshape({model.inputs[0]: list(shape)})
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }
        self.request = core.compile_model(model, "CPU", settings).create_infer_request()

    def feed(self, sample: np.ndarray) -> None:
        self.request.get_input_tensor().data[...] = _as_read(sample, self.images_turned)

    def invoke(self) -> object:
        return self.request.infer(share_outputs=True)

    def result(self) -> np.ndarray:
        from benchmarks.onnx_export import channels_last

        found = np.array(self.request.get_output_tensor(0).data)
        return channels_last(found) if self.images_turned else found


def _as_read(sample: np.ndarray, turned: bool) -> np.ndarray:
    from benchmarks.onnx_export import channels_first

    return channels_first(sample) if turned else sample


# Starting them -------------------------------------------------------------------------------


def _litert(content: bytes, threads: int, reference: bool = False) -> TfLite:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kernels = OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO
    return TfLite(
        Interpreter(
            model_content=content, num_threads=threads, experimental_op_resolver_type=kernels
        )
    )


def _octolite(content: bytes, threads: int) -> TfLite:
    return TfLite(octolite.Interpreter(model_content=content, num_threads=threads))


def _onnx(files: Files, threads: int, sample: np.ndarray) -> OnnxRuntime:
    return OnnxRuntime(files.onnx.SerializeToString(), threads, sample)


def _onnx_int8(files: Files, threads: int, sample: np.ndarray) -> OnnxRuntime:
    """The fastest of the forms that compute what they should."""
    signs = (False,) if saturates() else (False, True)
    return _fastest([Form(c, s) for c in (False, True) for s in signs], files, threads, sample)


def _onnx_7bit(files: Files, threads: int, sample: np.ndarray) -> OnnxRuntime:
    """Where signed weights need 7 bits."""
    if not saturates():
        raise NotImplementedError("signed weights of 8 bits give exact sums on this CPU")
    forms = [Form(c, signed=True, reduced=True) for c in (False, True)]
    return _fastest(forms, files, threads, sample)


@functools.cache
def saturates() -> bool:
    """Whether signed 8-bit weights give wrong sums in ONNX Runtime on this CPU, found by trying."""
    ones = np.ones((64, 64), np.float32)
    graph = Graph()
    x = graph.add_input("x", FLOAT32, ones.shape)
    weights = [Value.constant("weights", ones), Value.constant("bias", ones[0])]
    graph.outputs = [graph.add(FullyConnected(), [x, *weights], "y").output]
    content = Files(write(Model([graph])), b"").onnx_quantized(Form(False, True))
    runner = OnnxRuntime(content, 1, ones)
    runner.invoke()
    return bool(np.abs(runner.result() / 65 - 1).max() > 0.1)


def _fastest(forms: Sequence[Form], files: Files, threads: int, sample: np.ndarray) -> OnnxRuntime:
    """Not every form has kernels for every operator."""
    found: list[OnnxRuntime] = []
    reason: Exception | None = None
    for form in forms:
        try:
            runner = OnnxRuntime(files.onnx_quantized(form), threads, sample)
            runner.invoke()
        except Exception as error:  # whatever the library raises for what it lacks
            reason = error
            continue
        runner.form = str(form)
        found.append(runner)
    if not found:
        raise NotImplementedError(f"no dynamically quantized form runs: {reason}")
    return min(found, key=lambda runner: _quickest(runner.invoke))


def _quickest(call: Callable[[], object]) -> float:
    spent = []
    for _ in range(8):
        start = time.perf_counter()
        call()
        spent.append(time.perf_counter() - start)
    return min(spent)


def _openvino(files: Files, threads: int, sample: np.ndarray) -> OpenVino:
    """From the ``.tflite`` file, or from ONNX where its reader lacks an operator."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(files.plain)
        try:
            return OpenVino(path, threads, sample)
        except RuntimeError:
            path = path.with_suffix(".onnx")
            path.write_bytes(files.onnx.SerializeToString())
            return OpenVino(path, threads, sample)


@dataclass(frozen=True)
class Contender:
    """``start`` loads a model; ``packages`` must be installed for it. ``rounds``: its results are
    not those of the first contender, to more than rounding."""

    name: str
    rounds: bool
    packages: tuple[str, ...]
    start: Callable[[Files, int, np.ndarray], Runner]

    @property
    def installed(self) -> bool:
        return all(importlib.util.find_spec(package) is not None for package in self.packages)


_LITERT, _ONNX, _OPENVINO = ("ai_edge_litert",), ("onnx", "onnxruntime"), ("onnx", "openvino")

ALL: tuple[Contender, ...] = (
    Contender("LiteRT float", False, _LITERT, lambda f, n, x: _litert(f.plain, n)),
    Contender("LiteRT hybrid", True, _LITERT, lambda f, n, x: _litert(f.quantized, n)),
    Contender("ONNX Runtime float", False, _ONNX, _onnx),
    Contender("ONNX Runtime int8", True, _ONNX, _onnx_int8),
    Contender("ONNX Runtime 7-bit", True, _ONNX, _onnx_7bit),
    Contender("OpenVINO float", False, _OPENVINO, _openvino),
    Contender("Octolite float", False, (), lambda f, n, x: _octolite(f.plain, n)),
    Contender("Octolite hybrid", True, (), lambda f, n, x: _octolite(f.quantized, n)),
)

CODED: tuple[Contender, ...] = (
    Contender("LiteRT", True, _LITERT, lambda f, n, x: _litert(f.plain, n)),
    Contender("LiteRT reference", False, _LITERT, lambda f, n, x: _litert(f.plain, n, True)),
    Contender("Octolite", False, (), lambda f, n, x: _octolite(f.plain, n)),
)
"""Of models in codes throughout. LiteRT's own kernels round otherwise than its reference."""
