"""Put the edges within reach of the tests of this folder, and give them a store."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parent))

from edges import Open, opening


@pytest.fixture
def store() -> dist.TCPStore:
    return dist.TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)


@pytest.fixture
def open_transport(store: dist.TCPStore) -> Iterator[Open]:
    with opening(store.port) as open_:
        yield open_
