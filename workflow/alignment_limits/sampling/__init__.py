"""Sampling replies to prompts, with one of two engines behind one interface."""
