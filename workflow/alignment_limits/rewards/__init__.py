"""Reward models behind one interface; a module a kind."""
