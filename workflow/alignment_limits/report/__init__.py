"""From tables to what people read: figures, verdicts on claims, pages."""
