"""The store of ``gala launch``, served by rank 0 from a process of its own."""

from __future__ import annotations

import subprocess
import sys
import threading

from gala.launch.processes import die_with_parent


class StoreServer:
    """Serves the store at ``tcp://host:port`` from a process of its own, and again when that dies.

    Args:
        address: where.
    """

    def __init__(self, address: str) -> None:
        code = (
            "import sys; from gala.launch.launch import store_at; "
            f"store = store_at({address!r}, serve=True); sys.stdin.read()"
        )
        self._command = [sys.executable, "-c", code]
        self._closing = threading.Event()
        self._process = self._serve()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def close(self) -> None:
        """Serve no longer."""
        self._closing.set()
        self._process.terminate()
        self._keeper.join()

    def _serve(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdin=subprocess.PIPE, preexec_fn=die_with_parent)

    def _keep(self) -> None:
        while True:
            self._process.wait()
            if self._closing.wait(1.0):
                return
            self._process = self._serve()
