"""Set-up of every test: runs before any test module imports torch."""

from __future__ import annotations

import os

# On a busy machine spinning OpenMP threads make small tests ten times slower; as in `gala train`.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from hypothesis import settings

# How long an example takes says something of the machine, not of the code.
settings.register_profile("gala", deadline=None)
settings.load_profile("gala")
