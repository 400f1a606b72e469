"""Library: gossip in anybody's own loop, see :func:`gala.library.api.gossip`."""
