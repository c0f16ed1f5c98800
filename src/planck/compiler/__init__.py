"""The stages from a model to a plan."""
