"""The one place that turns results into what people and programs read."""
