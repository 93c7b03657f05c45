"""How a stack is brought up: the same plan on one machine (compose) or on a cluster (swarm)."""
