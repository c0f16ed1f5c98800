"""Graph to graph optimisations, one rule set a file."""
