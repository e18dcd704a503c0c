"""Policies: what they are made of, their KL, where they stand."""
