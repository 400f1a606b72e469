"""Run folders: what agents write while they train, and how every tool reads it."""
