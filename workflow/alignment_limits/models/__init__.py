"""Everything about checkpoints: fetching, converting, tokenizers, loading weights in one place."""
