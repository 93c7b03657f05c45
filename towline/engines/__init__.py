"""The steps that bring a stack up, for each engine: Docker Compose on one machine (swarm is to come)."""
