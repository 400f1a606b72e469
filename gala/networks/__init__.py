"""Policy and value networks: trunks per observation space, heads per action space."""

from gala.networks.build import build_network
from gala.networks.network import Network

__all__ = ["Network", "build_network"]
