"""The command line: tasks' options, errors in one line, and the order in which a task calls the rest."""
