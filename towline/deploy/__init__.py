"""A deploy: plan.py decides, run.py carries out."""
