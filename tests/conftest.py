"""Set-up of every test: runs before any test module imports torch."""

from __future__ import annotations

import os

# On a busy machine spinning OpenMP threads make small tests ten times slower; as in `gala train`.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
