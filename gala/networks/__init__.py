"""Policy and value networks: trunks per observation space, heads per action space."""

from gala.networks.policy import Policy, build_policy

__all__ = ["Policy", "build_policy"]
