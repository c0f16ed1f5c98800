"""The build for GPUs: its stages, its assembly, its check; the rest is shared with processors."""
