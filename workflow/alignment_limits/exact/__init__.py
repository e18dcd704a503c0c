"""A world whose replies can all be listed: laws, values and training without sampling error."""
