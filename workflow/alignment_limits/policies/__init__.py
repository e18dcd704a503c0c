"""Policies: their model folders, their KL from the base, and their place next to the limit."""
