"""The ways to run a kernel."""
