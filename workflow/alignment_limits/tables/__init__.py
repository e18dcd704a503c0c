"""Every table of the workflow and of its users: contracts, readers, writers, one set of checks."""
