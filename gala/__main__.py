"""``python -m gala``: the same as the ``gala`` command."""

from __future__ import annotations

import sys

from gala.cli import main

if __name__ == "__main__":
    sys.exit(main())
