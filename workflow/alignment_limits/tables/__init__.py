"""Every table and text file that a user brings goes through here: one reader, one set of checks."""
