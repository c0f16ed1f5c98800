"""Fuzzing of the model readers: damaged files must end in a graph or in a PlanckError."""
