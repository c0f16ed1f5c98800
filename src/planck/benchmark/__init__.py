"""Measuring plans: latency, throughput, two plans side by side, and each step against its roof."""
