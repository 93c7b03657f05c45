"""The user's project folder: settings, the catalog of stacks, their compose files, .env files."""
