"""Tables of the workflow and of its users: contracts, readers, writers, checks."""
