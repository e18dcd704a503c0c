"""Training: policies through TRL or by the exact gradient, proxy rewards from gold labels."""
