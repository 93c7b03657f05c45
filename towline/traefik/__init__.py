"""What a Traefik serves: its static configuration, its routers out of labels and files, and requests to ask them by. Pure."""
