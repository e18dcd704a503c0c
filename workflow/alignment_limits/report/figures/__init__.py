"""Figures, one message each. Functions take tables and a `Look`, and return a Matplotlib figure."""
