"""Models, rivals and timings: everything that measures Planck and nothing that it needs to run."""
