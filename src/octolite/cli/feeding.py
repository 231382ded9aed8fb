"""Options that say what models are fed while they are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from octolite.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--data",
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False),
        help="A .npy, or a .npz with an array for each input; samples lie along the first axis. "
        "Without it, numbers are drawn from the range that each input states.",
    ),
    click.option(
        "--samples",
        type=click.IntRange(1),
        metavar="N",
        help="How many to look at. [32 of the data, or 8 that are drawn]",
    ),
    click.option(
        "--range",
        "ranges",
        multiple=True,
        metavar="[NAME=]LOW,HIGH",
        help="What to draw an input's numbers from.",
    ),
    click.option("--seed", type=int, default=None, metavar="N", help="Of what is drawn."),
    click.option("--threads", type=click.IntRange(1), help="Threads. [default: all processors]"),
)


def feeding(command: F) -> F:
    """Give a command the options ``data``, ``samples``, ``ranges``, ``seed`` and ``threads``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def arguments(
    data: str | None, samples: int | None, ranges: Iterable[str], seed: int | None
) -> dict[str, Any]:
    """What these options say, as :func:`octolite.compare` takes it. Raises :class:`UsageError`."""
    from octolite.evaluation.feeds import SEED

    return {
        "data": data,
        "samples": samples,
        "seed": SEED if seed is None else seed,
        "ranges": dict(map(_range, ranges)),
    }


def _range(text: str) -> tuple[str, tuple[float, float]]:
    name, _, numbers = text.rpartition("=")
    try:
        low, high = (float(n) for n in numbers.split(","))
    except ValueError:
        raise UsageError(f"--range {text!r} should be [NAME=]LOW,HIGH") from None
    if not low < high < float("inf") or low == float("-inf"):
        raise UsageError(f"--range {text!r}: {low:g} should be less than {high:g}, both finite")
    return name, (low, high)
