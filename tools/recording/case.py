"""How a recorded graph is declared: a function, the inputs it is fed, and how it is frozen."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

CASES: dict[str, Case] = {}


@dataclass(frozen=True)
class Input:
    """A placeholder and how to draw the array fed to it; `unknown` fills unknown sizes but batch.

    With `unranked`, the placeholder does not even say its rank.
    """

    shape: tuple[int | None, ...]
    dtype: str
    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
    unknown: int = 7
    unranked: bool = False

    @property
    def declared(self) -> tuple[int | None, ...] | None:
        return None if self.unranked else self.shape

    def feed(self, rng: np.random.Generator, batch: int, unknown: int | None = None) -> np.ndarray:
        fill = [batch, *[unknown or self.unknown] * len(self.shape)]
        shape = tuple(
            default if size is None else size
            for size, default in zip(self.shape, fill, strict=False)
        )
        return np.asarray(self.draw(rng, shape)).astype(self.dtype)


def _on_grid(values: np.ndarray) -> np.ndarray:
    return np.round(values * 16) / 16  # compresses well


def normal(*shape: int | None, unknown: int = 7, unranked: bool = False) -> Input:
    return Input(
        shape, "float32", lambda rng, s: _on_grid(rng.standard_normal(s)), unknown, unranked
    )


def uniform(low: float, high: float, *shape: int | None) -> Input:
    return Input(shape, "float32", lambda rng, s: rng.uniform(low, high, s))


def integers(low: int, high: int, *shape: int | None, dtype: str = "int32") -> Input:
    return Input(shape, dtype, lambda rng, s: rng.integers(low, high, s))


def booleans(*shape: int | None) -> Input:
    return Input(shape, "bool", lambda rng, s: rng.integers(0, 2, s))


def fixed(values: np.ndarray, *shape: int | None) -> Input:
    """Always these values; `shape` declares the placeholder."""
    return Input(shape, values.dtype.name, lambda rng, s: values)


@dataclass(frozen=True)
class Case:
    """One recorded graph.

    With style "v1", `build` gets one placeholder per input and returns the output tensors: one, a
    list, or a dict whose keys become the names of Identity nodes. With style "v2" it returns a
    callable (a Keras model or a tf.function) that is traced and frozen with its variables.

    `flow` is the version of control flow: in a session 1 writes Enter, Switch and the like, 2
    writes While and If; of a traced function, 1 lowers While and If as freezing does by default.
    `also` has further (batch, other unknown sizes) to record outputs for.
    """

    name: str
    build: Callable[..., Any]
    inputs: dict[str, Input]
    style: str
    text: bool
    batch: int
    note: str
    folder: str = "graphs"
    flow: int = 1
    resource: bool = True
    old_add: bool = False
    also: tuple[tuple[int, int], ...] = ()
    expectation: tuple[tuple[str, Any], ...] = ()

    def feeds(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(self.seed)
        return {name: spec.feed(rng, self.batch) for name, spec in self.inputs.items()}

    def further_feeds(self) -> list[dict[str, np.ndarray]]:
        rng = np.random.default_rng(self.seed + 1)
        return [
            {name: spec.feed(rng, batch, unknown) for name, spec in self.inputs.items()}
            for batch, unknown in self.also
        ]

    @property
    def seed(self) -> int:
        return zlib.crc32(self.build.__name__.encode())


def _declare(style: str) -> Callable[..., Any]:
    def decorator(text: bool = False, batch: int = 2, **inputs: Input) -> Callable[..., Any]:
        def register(build: Callable[..., Any]) -> Callable[..., Any]:
            name = build.__name__
            if name in CASES:
                raise ValueError(f"two graphs are called {name}")
            note = " ".join((build.__doc__ or "").split())
            CASES[name] = Case(name, build, inputs, style, text, batch, note)
            return build

        return register

    return decorator


graph = _declare("v1")
keras_model = _declare("v2")


def loop(
    construct: str,
    expect: list[str] | str,
    *,
    style: str = "v1",
    flows: tuple[int, ...] = (1, 2),
    batch: int = 2,
    also: tuple[tuple[int, int], ...] = (),
    resource: bool = False,
    old_add: bool = False,
    **inputs: Input,
) -> Callable[..., Any]:
    """Declare a graph of tests/data/recurrent, once per version of control flow.

    Its names are NAME_v1 and NAME_v2 for graphs frozen in a session, NAME_lowered and NAME for
    functions. `resource` makes its variables resource variables, which TensorFlow 1 did not;
    `old_add` writes Add in place of AddV2.
    """
    suffixes = {"v1": {1: "_v1", 2: "_v2"}, "v2": {1: "_lowered", 2: ""}}[style]

    def register(build: Callable[..., Any]) -> Callable[..., Any]:
        note = " ".join((build.__doc__ or "").split())
        expectation = (("construct", construct), ("expect", expect))
        for flow in flows:
            name = build.__name__ + (suffixes[flow] if len(flows) > 1 else "")
            if name in CASES:
                raise ValueError(f"two graphs are called {name}")
            CASES[name] = Case(
                name, build, inputs, style, False, batch, note,
                "recurrent", flow, resource, old_add, also, expectation,
            )  # fmt: skip
        return build

    return register
