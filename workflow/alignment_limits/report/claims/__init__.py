"""Verdicts on the papers' claims, each from this study's tables alone."""
