"""One publisher of checkpoints a file: its keys, its options."""
