"""Sampling replies to prompts, with one of three engines behind one interface."""
