"""Loop-level expressions of one kernel."""
