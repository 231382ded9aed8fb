"""``octolite.Interpreter``: load and run a ``.tflite`` model, as ``tf.lite.Interpreter`` does."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from octolite.errors import UsageError, did_you_mean
from octolite.ir.graph import Graph, Node, Signature, Value
from octolite.ir.types import Array
from octolite.ops.custom import CustomOperator, user_operators
from octolite.runtime import arguments
from octolite.runtime.budget import CALL_LIMIT, MEMORY_LIMIT
from octolite.runtime.calls import Callees
from octolite.runtime.context import REFUSED, Context, Timing
from octolite.runtime.executor import Executor
from octolite.runtime.plan import Plan
from octolite.runtime.prepare import HYBRID_MODES, Hybrid
from octolite.tflite.read import read

Details = dict[str, Any]


class Interpreter:
    """Runs a model.

    Args:
        model_path: the ``.tflite`` file, or
        model_content: its bytes.
        num_threads: how many threads to compute with; all processors when ``None``.
        hybrid: ``"auto"`` lets each layer with int8 weights run in int8 or, with its weights
            dequantized once, in float, whichever costs less; ``"always"`` and ``"never"`` force.
        memory_limit: bytes that the tensors of a graph may take, and constants that are decoded
            or evaluated; a model (or an input shape) that would need more is refused.
        preserve_all_tensors: keep intermediate results, too, for :meth:`get_tensor` and
            :meth:`steps`. Takes more memory and time: nothing is joined, no memory is reused.
        call_limit: how often an operator of control flow may run graphs, one way or another, in
            one :meth:`invoke`; a loop that would go on is stopped by an error.

    Raises:
        UsageError: arguments that cannot be meant.
        ModelError: the file is damaged, invalid or uses something unsupported.

    An interpreter serves one thread at a time; a thread that runs it while another does is
    refused. :meth:`clone` gives each thread one of its own.
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str] | None = None,
        model_content: bytes | None = None,
        num_threads: int | None = None,
        hybrid: Hybrid = "auto",
        memory_limit: int = MEMORY_LIMIT,
        call_limit: int = CALL_LIMIT,
        custom_operators: Mapping[str, CustomOperator] | None = None,
        preserve_all_tensors: bool = False,
    ) -> None:
        source = arguments.model_source(model_path, model_content)
        if hybrid not in HYBRID_MODES:
            raise UsageError(f"hybrid is {hybrid!r}. {did_you_mean(str(hybrid), HYBRID_MODES)}")
        if num_threads is not None:
            num_threads = arguments.whole("num_threads", num_threads, 1)
        memory_limit = arguments.whole("memory_limit", memory_limit)
        call_limit = arguments.whole("call_limit", call_limit)
        self._model = read(source, memory_limit, user_operators(custom_operators))
        self._threads = num_threads or len(os.sched_getaffinity(0))
        self._executor = Executor(self._threads)
        self._memory_limit = memory_limit
        self._preserves = bool(preserve_all_tensors)
        entered = [self._model.main, *(s.graph for s in self._model.signatures)]
        # As the file has them: preparing a graph makes it read other values.
        self._listed = {id(graph): list(graph.values()) for graph in entered}
        self._callees = Callees(
            entered,
            hybrid,
            self._executor,
            self._threads,
            memory_limit,
            call_limit,
            self._preserves,
        )
        self._enter(self._model.main)

    def _enter(self, graph: Graph) -> None:
        """Become the interpreter of one of the model's graphs."""
        self._graph = graph
        self._values: list[Value] = self._listed[id(graph)]
        self._index = {id(v): i for i, v in enumerate(self._values)}
        self._shapes: dict[int, tuple[int, ...]] = {
            id(v): tuple(1 if d is None else d for d in v.shape or ()) for v in graph.inputs
        }
        # By signatures that enter other graphs; they share the state, the code and the threads.
        self._others: dict[int, Interpreter] = {}
        self._planning = threading.Lock()
        self._bind(None)

    def _entering(self, graph: Graph) -> Interpreter:
        """The interpreter of another of the model's graphs."""
        if graph is self._graph:
            return self
        if id(graph) not in self._others:
            other = copy.copy(self)
            other._enter(graph)
            self._others[id(graph)] = other
        return self._others[id(graph)]

    def clone(self) -> Interpreter:
        """Another interpreter of the same model, for another thread.

        Both share the weights, the compiled code and the plan. The clone has tensors, state (zero
        at first) and ``num_threads`` threads of its own, so that both can run at the same time.
        It is ready where this one is; inputs are not copied.
        """
        other = copy.copy(self)
        other._shapes, other._others = dict(self._shapes), {}
        other._planning = threading.Lock()
        other._executor = Executor(self._threads)
        other._callees = self._callees.clone(other._executor)
        other._bind(self._plan)
        return other

    def _bind(self, plan: Plan | None) -> None:
        """Set memory aside for ``plan``; ``None``: shapes have changed, there is none."""
        self._context: Context | None = None
        # Tensors that lie in one place, by their index; and those of them that can be read.
        self._homes: dict[int, Array] = {}
        self._lasting: dict[int, Array] = {}
        if plan is None:
            return
        self._context = Context(plan, self._executor, self._threads, self._callees)
        for index, value in enumerate(self._values):
            if id(value) in plan.offsets:
                self._homes[index] = array = self._context.arrays[id(value)]
                if self._lasts(value):
                    self._lasting[index] = array

    # -- shapes and memory ------------------------------------------------------------------------

    def allocate_tensors(self) -> None:
        """Plan for the inputs' present shapes and set aside the memory.

        Raises :class:`octolite.ShapeError` when the shapes do not fit the model.
        """
        with self._planning:
            if self._plan is None:
                self._bind(self._callees.plan(self._graph, self._shapes))

    def resize_tensor_input(
        self, input_index: int, tensor_size: Sequence[int], strict: bool = False
    ) -> None:
        """Give an input another shape; :meth:`allocate_tensors` must follow.

        With ``strict``, only extents that the model leaves open may change. Raises
        :class:`octolite.UsageError`.
        """
        value = self._value(input_index)
        shape = arguments.extents(f"input {value.name!r}", tensor_size)
        if id(value) not in self._shapes:
            raise UsageError(f"tensor {input_index} ({value.name!r}) is not an input of the model")
        fixed = value.shape or ()
        fits = len(fixed) == len(shape) and all(
            a is None or a == b for a, b in zip(fixed, shape, strict=False)
        )
        if strict and not fits:
            raise UsageError(f"input {value.name!r} is {_signature(value)}, asked for {shape}")
        if self._shapes[id(value)] != shape:
            if not fits:
                self._callees.distrust_variables()
            with self._planning:
                self._shapes[id(value)] = shape
                self._bind(None)

    @property
    def _plan(self) -> Plan | None:
        """The plan as it can be run."""
        context = self._context
        return None if context is None or context.expired else context.plan

    def _ready(self, doing: str) -> Context:
        if self._context is None:
            raise UsageError(f"call allocate_tensors() before {doing}")
        return self._context

    def _value(self, index: int) -> Value:
        number = arguments.whole("the tensor's index", index)
        if number >= len(self._values):
            raise UsageError(f"there is no tensor {number}; the model has {len(self._values)}")
        return self._values[number]

    # -- tensors ----------------------------------------------------------------------------------

    def get_input_details(self) -> list[Details]:
        """Name, index, shape, dtype and quantization of each input, by TensorFlow Lite's keys."""
        return [self._details(v) for v in self._graph.inputs]

    def get_output_details(self) -> list[Details]:
        """The same for each output."""
        return [self._details(v) for v in self._graph.outputs]

    def get_tensor_details(self) -> list[Details]:
        """The same for every tensor of the model."""
        return [self._details(v) for v in self._values]

    def _details(self, value: Value) -> Details:
        shape: tuple[int, ...] = tuple(1 if d is None else d for d in value.shape or ())
        if id(value) in self._shapes:
            shape = self._shapes[id(value)]
        elif self._context is not None and id(value) in self._context.plan.slots:
            shape = self._context.plan.slots[id(value)].extents or shape
        quant = value.quant
        scales = np.zeros(0, np.float32) if quant is None else quant.scale
        zeros = np.zeros(0, np.int32) if quant is None else quant.zero_point.astype(np.int32)
        single = scales.size == 1
        return {
            "name": value.name,
            "index": self._index[id(value)],
            "shape": np.asarray(shape, np.int32),
            "shape_signature": np.asarray(
                [-1 if d is None else d for d in value.shape or ()], np.int32
            ),
            "dtype": value.dtype.numpy.type,
            "quantization": (float(scales[0]), int(zeros[0])) if single else (0.0, 0),
            "quantization_parameters": {
                "scales": scales,
                "zero_points": zeros,
                "quantized_dimension": 0 if quant is None else quant.axis,
            },
            "sparsity_parameters": {},
        }

    def set_tensor(self, tensor_index: int, value: Any) -> None:
        """Copy ``value`` into a tensor; dtype and shape must match.

        Raises :class:`octolite.UsageError` saying what was expected.
        """
        place = self._homes.get(tensor_index) if isinstance(tensor_index, int) else None
        if (
            place is not None
            and type(value) is np.ndarray
            and value.shape == place.shape
            and value.dtype == place.dtype
        ):
            place[...] = value
            return
        tensor = self._value(tensor_index)
        array = arguments.array_for(tensor, value)
        context = self._ready("set_tensor()")
        if tensor.data is not None:
            raise UsageError(f"tensor {tensor.name!r} is a constant of the model")
        home = context.arrays.get(id(tensor))
        shape = self._shapes.get(id(tensor)) if home is None else home.shape
        if shape not in (None, array.shape):
            raise UsageError(
                f"tensor {tensor.name!r} has the shape {shape} and was given {array.shape}; "
                "use resize_tensor_input() and allocate_tensors() to change it"
            )
        if home is None or tensor.dtype.kind == "s":
            context.arrays[id(tensor)] = array
        else:
            np.copyto(home, array)

    def get_tensor(self, tensor_index: int) -> Array:
        """A copy of a tensor: an input, an output, a constant or a variable.

        Raises :class:`octolite.UsageError` for an intermediate tensor, whose memory is reused
        unless the interpreter was made with ``preserve_all_tensors``.
        """
        place = self._lasting.get(tensor_index) if isinstance(tensor_index, int) else None
        return (self._present(tensor_index) if place is None else place).copy()

    def tensor(self, tensor_index: int) -> Callable[[], Array]:
        """A function that gives a view of the tensor's memory, for access without a copy."""
        self._value(tensor_index)
        return lambda: self._present(tensor_index)

    def _lasts(self, value: Value) -> bool:
        """Whether no other tensor takes the memory of ``value`` while the model runs."""
        is_input = self._preserves or id(value) in self._shapes
        return is_input or value.is_variable or self._graph.is_output(value)

    def _present(self, index: int) -> Array:
        value = self._value(index)
        if value.data is not None:
            return value.data  # what runs may be a dequantized or a packed copy
        context = self._ready("reading a tensor")
        if not self._lasts(value):
            raise UsageError(
                f"tensor {index} ({value.name!r}) is an intermediate result, whose memory is "
                "reused; make it an output of the model to read it, or the interpreter with "
                "preserve_all_tensors=True"
            )
        array = context.arrays.get(id(value))
        if array is None:
            raise UsageError(f"tensor {index} ({value.name!r}) has no value before invoke()")
        return array

    # -- running ----------------------------------------------------------------------------------

    def invoke(self) -> None:
        """Run the model on the inputs as they are set.

        Raises :class:`octolite.RuntimeModelError` when the data does not suit an operator, and
        :class:`octolite.UsageError` while another thread runs this interpreter.
        """
        context = self._context or self._ready("invoke()")
        if refused := context.call():
            raise UsageError(REFUSED[refused])

    def steps(self) -> Iterator[Node]:
        """Run the model once, an operator at a time; gives each operator's node when it has run.

        In between, results may be read and changed (:meth:`get_tensor`, :meth:`set_tensor`,
        :meth:`index_of`). Raises as :meth:`invoke` does, and :class:`octolite.UsageError` unless
        the interpreter was made with ``preserve_all_tensors``.
        """
        context = self._ready("steps()")
        if not self._preserves:
            raise UsageError("steps() needs an interpreter made with preserve_all_tensors=True")
        return context.walk()

    def profile(self, runs: int = 10) -> list[Timing]:
        """Run ``runs`` times and give each operator's time, in nanoseconds, run by run."""
        context = self._ready("profile()")
        timings: dict[int, Timing] = {}
        for _ in range(arguments.whole("runs", runs)):
            context.run(timings)
        return list(timings.values())

    def reset_all_variables(self) -> None:
        """Set the model's state to what it was before the first run.

        Variables become zeros; resources (variables and tables with names, the state of random
        numbers) are as if nothing had been assigned, and initialised by the next run.
        """
        self._ready("reset_all_variables()").reset_variables()
        for other in self._others.values():
            if other._context is not None:
                other._context.reset_variables()
        self._callees.reset()

    # -- signatures -------------------------------------------------------------------------------

    def get_signature_list(self) -> dict[str, dict[str, list[str]]]:
        """Each signature's input and output names, by its key."""
        return {
            s.key: {"inputs": list(s.inputs), "outputs": list(s.outputs)}
            for s in self._model.signatures
        }

    def get_signature_runner(self, signature_key: str | None = None) -> SignatureRunner:
        """A callable that takes and gives arrays by name.

        ``signature_key`` may be left out where the model has one signature. Raises
        :class:`octolite.UsageError`.
        """
        signatures = {s.key: s for s in self._model.signatures}
        if signature_key is None:
            if len(signatures) != 1:
                raise UsageError(f"name one of the model's signatures: {sorted(signatures)}")
            signature_key = next(iter(signatures))
        if not isinstance(signature_key, str) or signature_key not in signatures:
            hint = did_you_mean(str(signature_key), signatures)
            raise UsageError(f"the model has no signature {signature_key!r}. {hint}")
        signature = signatures[signature_key]
        return SignatureRunner(self._entering(signature.graph), signature)

    @property
    def num_threads(self) -> int:
        """How many threads compute."""
        return self._threads

    @property
    def graph(self) -> Graph:
        """What runs; weights that run in another form than the file has are other values there."""
        return self._graph

    def index_of(self, value: Value) -> int:
        """The index of one of the model's values."""
        return self._index[id(value)]


class SignatureRunner:
    """Runs a model by the names of one signature; made by ``get_signature_runner``."""

    def __init__(self, interpreter: Interpreter, signature: Signature) -> None:
        self._interpreter = interpreter
        self._signature = signature

    def __call__(self, **inputs: Any) -> dict[str, Array]:
        """Run on ``inputs``, resizing as needed; gives every output by name.

        Raises :class:`octolite.UsageError` when a name is missing or unknown.
        """
        expected = self._signature.inputs
        for name in inputs:
            if name not in expected:
                raise UsageError(f"there is no input {name!r}. {did_you_mean(name, expected)}")
        missing = [name for name in expected if name not in inputs]
        if missing:
            raise UsageError(f"inputs {missing} are missing")
        interpreter = self._interpreter
        arrays = {n: arguments.loose(expected[n], a) for n, a in inputs.items()}
        for name, array in arrays.items():
            interpreter.resize_tensor_input(interpreter.index_of(expected[name]), array.shape)
        interpreter.allocate_tensors()
        for name, array in arrays.items():
            interpreter.set_tensor(interpreter.index_of(expected[name]), array)
        interpreter.invoke()
        return {
            name: interpreter.get_tensor(interpreter.index_of(value))
            for name, value in self._signature.outputs.items()
        }

    def get_input_details(self) -> Mapping[str, Details]:
        """The details of each input by the signature's name."""
        return self._details_of(self._signature.inputs)

    def get_output_details(self) -> Mapping[str, Details]:
        """The details of each output by the signature's name."""
        return self._details_of(self._signature.outputs)

    def _details_of(self, values: dict[str, Value]) -> dict[str, Details]:
        details = self._interpreter.get_tensor_details()
        return {n: details[self._interpreter.index_of(v)] for n, v in values.items()}


def _signature(value: Value) -> tuple[int, ...]:
    return tuple(-1 if d is None else d for d in value.shape or ())
