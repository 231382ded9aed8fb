"""LiteRT in a process of its own, which may die of what it is given."""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from octolite.ir.types import Array

SECONDS = 20


@dataclass(frozen=True)
class Refused:
    """LiteRT does not run the model, and says why."""

    reason: str


@dataclass(frozen=True)
class Died:
    """LiteRT's process ended, or had to be ended."""

    reason: str


class Judge:
    """Asks LiteRT, starting its process anew whenever that has died."""

    def __init__(self) -> None:
        self._process: Any = None
        self._link: Connection | None = None

    def ask(
        self, content: bytes, feeds: dict[str, Array], name: str
    ) -> list[Array] | Refused | Died:
        """What LiteRT's kernels for operator ``name`` make of a model and its inputs."""
        link = self._start()
        try:
            link.send((content, feeds, name))
            if link.poll(SECONDS):
                return link.recv()  # type: ignore[no-any-return]
            reason = f"no answer within {SECONDS} s"
        except (EOFError, OSError):
            self._process.join()
            reason = f"ended with code {self._process.exitcode}"
        self.close()
        return Died(reason)

    def _start(self) -> Connection:
        if self._link is None:
            context = multiprocessing.get_context("spawn")
            self._link, other = context.Pipe()
            self._process = context.Process(target=_serve, args=(other,), daemon=True)
            self._process.start()
            other.close()
        return self._link

    def close(self) -> None:
        """End the process."""
        if self._link is not None:
            self._link.close()
            self._process.kill()
            self._process.join()
        self._link = None


def _serve(link: Connection) -> None:
    from tests.ops.litert import interpreter_of

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(EOFError):
        while True:
            content, feeds, name = link.recv()
            try:
                link.send(_run(interpreter_of(content, name), feeds))
            except (RuntimeError, ValueError, TypeError) as error:
                link.send(Refused(str(error)))


def _run(interpreter: Any, feeds: dict[str, Array]) -> list[Array]:
    return run(interpreter, feeds, _without_elements)


def _without_elements(detail: dict[str, Any]) -> Array:
    text = np.dtype(detail["dtype"]).kind in "SU"
    return np.empty(detail["shape"], object if text else detail["dtype"])


def run(interpreter: Any, feeds: dict[str, Array], empty: Any = None) -> list[Array]:
    """Feed an interpreter of TensorFlow Lite's kind and take its results.

    ``empty`` makes what LiteRT cannot hand out, and does not take: a tensor without elements.
    """
    for detail in interpreter.get_input_details():
        shape = feeds[detail["name"]].shape
        if tuple(detail["shape"]) != shape:
            interpreter.resize_tensor_input(detail["index"], shape)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        if feeds[detail["name"]].size or empty is None:
            interpreter.set_tensor(detail["index"], feeds[detail["name"]])
    interpreter.invoke()
    return [
        empty(d) if empty and 0 in d["shape"] else interpreter.get_tensor(d["index"])
        for d in interpreter.get_output_details()
    ]
