"""What is so on a host: each fact is a command and the parser of what it answers."""
