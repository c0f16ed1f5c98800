"""Engine and ExecutionContext: runs plans."""
