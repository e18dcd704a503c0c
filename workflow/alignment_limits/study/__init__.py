"""The study file: typed, checked before anything runs."""
