"""The study file: typed, and checked before anything runs."""
