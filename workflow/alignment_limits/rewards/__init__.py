"""Reward models behind one interface; one module for each kind."""
