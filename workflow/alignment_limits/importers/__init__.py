"""Samples that exist already, from the files of other projects: what drew them, and one table of them."""
