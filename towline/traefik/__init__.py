"""What a Traefik serves: its static configuration, its routers from labels and files, and example requests for each. Pure."""
