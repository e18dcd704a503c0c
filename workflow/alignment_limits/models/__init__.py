"""Checkpoints: fetch them, convert them, load their weights and tokenizers."""
