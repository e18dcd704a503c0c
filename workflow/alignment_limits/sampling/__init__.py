"""Sampling: prompts to replies, through one of two engines behind one interface."""
