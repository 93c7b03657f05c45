"""The command line: the options of the tasks, errors in one line, and what each task calls. With tasks.py all that knows Invoke."""
