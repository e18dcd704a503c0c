"""A world whose replies can all be listed: exact laws, values and training without sampling error."""
