"""Values as text for people, and text from elsewhere made fit to print. Pure."""
