"""Theoretical limits of language-model alignment. Nothing is imported here: see the modules."""
