"""Training: policies with TRL or with exact gradients, and proxy rewards from gold labels."""
