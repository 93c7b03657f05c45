"""What lies in the user's folder: settings, the catalogue of stacks, their compose files, .env files."""
