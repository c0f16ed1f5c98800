"""The plan: what the build wing hands to the run wing, and its file format."""
