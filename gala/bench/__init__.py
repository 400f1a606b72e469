"""How fast it is, and where the time goes: runs that are watched while they train."""
