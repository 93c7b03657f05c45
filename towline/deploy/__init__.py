"""Deploys: prepare.py reads, planning/ decides, runner.py runs the plan on the server and follows it."""
