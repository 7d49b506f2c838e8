"""Moving images to and from Azure: ours against azure-storage-blob's sync client, 2,000 blobs of 100 KB, on fresh emulators in one run.

Both use so many threads over one pool of connections; ours goes through the store, names checked and marks written as in daily use.
Rounds alternate who comes first. The blobs are dealt out to several emulators, the same for both clients: an emulator has one thread,
and one alone would be what is measured. Each is warmed up by the client that is measured.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import requests
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import ContainerClient
from requests.adapters import HTTPAdapter

from activelearning.store.azure import API_VERSION, open_azure
from tests import azurite

_CONTAINER = "images"
_WARM_UP = 1000
Client = tuple[Callable[[str, bytes], object], Callable[[str], bytes]]


def run(args: list[str]) -> dict[str, object]:
    """Keys: `upload_ratio`, `download_ratio` (medians of the rounds' ratios, blobs a second), and both clients' medians."""
    options = _parser().parse_args(args)
    azurite.install()
    contents = [os.urandom(options.kilobytes * 1000) for _ in range(50)]
    rounds = [_round(number, options, contents) for number in range(options.rounds)]
    figures = {name: round(statistics.median(one[name] for one in rounds), 1) for name in rounds[0]}
    ratios = {
        f"{way}_ratio": round(statistics.median(one[f"{way}_ours"] / one[f"{way}_sdk"] for one in rounds), 2)
        for way in ("upload", "download")
    }
    return ratios | figures | {name: getattr(options, name) for name in ("blobs", "kilobytes", "threads", "emulators")}


def _round(number: int, options: argparse.Namespace, contents: Sequence[bytes]) -> dict[str, float]:
    clients = [("ours", _ours), ("sdk", _sdk)]
    rates: dict[str, float] = {}
    for name, connect in clients if number % 2 == 0 else reversed(clients):
        with ExitStack() as stack:
            connections = [stack.enter_context(azurite.running()) for _ in range(options.emulators)]
            put, get = _dealt([connect(connection, options.threads) for connection in connections])
            rates |= {f"{way}_{name}": rate for way, rate in _measure(put, get, options, contents).items()}
        print(f"round {number + 1}, {name}: {rates[f'upload_{name}']:.0f} up, {rates[f'download_{name}']:.0f} down", file=sys.stderr)
    return rates


def _dealt(clients: Sequence[Client]) -> Client:
    """One client of several emulators; a blob's number says which of them has it."""

    def client(name: str) -> Client:
        return clients[int(Path(name).stem) % len(clients)]

    return lambda name, content: client(name)[0](name, content), lambda name: client(name)[1](name)


def _measure(
    put: Callable[[str, bytes], object], get: Callable[[str], bytes], options: argparse.Namespace, contents: Sequence[bytes]
) -> dict[str, float]:
    names = [f"trip {number % 7}/{number:06d}.jpg" for number in range(options.blobs)]
    with ThreadPoolExecutor(options.threads) as pool:
        # a fresh emulator runs its first thousand requests before its own compiler is done with them
        warm_up = [f"warm-up/{number}.jpg" for number in range(_WARM_UP)]
        list(pool.map(lambda name: (put(name, contents[0]), get(name)), warm_up))
        started = time.perf_counter()
        list(pool.map(lambda pair: put(pair[1], contents[pair[0] % len(contents)]), enumerate(names)))
        uploaded = time.perf_counter()
        sizes = list(pool.map(lambda name: len(get(name)), names))
        downloaded = time.perf_counter()
    assert set(sizes) == {len(contents[0])}
    return {"upload": len(names) / (uploaded - started), "download": len(names) / (downloaded - uploaded)}


def _ours(connection: str, threads: int) -> Client:
    images = open_azure(connection, time.time, stand_in=False).images
    return images.create, lambda name: images.read(name).content


def _sdk(connection: str, threads: int) -> Client:
    session = requests.Session()
    session.mount("http://", HTTPAdapter(pool_maxsize=threads))
    transport = RequestsTransport(session=session, session_owner=False)
    container = ContainerClient.from_connection_string(connection, _CONTAINER, api_version=API_VERSION, transport=transport)
    container.create_container()

    def put(name: str, content: bytes) -> object:
        return container.get_blob_client(name).upload_blob(content)

    def get(name: str) -> bytes:
        return container.get_blob_client(name).download_blob().readall()

    return put, get


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench transfer")
    parser.add_argument("--blobs", type=int, default=2000)
    parser.add_argument("--kilobytes", type=int, default=100)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--emulators", type=int, default=2)
    return parser
