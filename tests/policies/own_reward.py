"""A reward of the tests' own."""


def letters(prompts, replies):
    """How many letters a reply has."""
    return [float(sum(c.isalpha() for c in reply)) for reply in replies]
