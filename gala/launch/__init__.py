"""Launching agents: their rank among the others, the rendezvous, torchrun and the supervisor."""
