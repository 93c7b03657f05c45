"""Decides what a deploy does. Pure: values in, a plan out."""
