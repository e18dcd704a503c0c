"""Learning the target language model from preferences: objectives, exact learners, rates (docs/theory.md)."""
