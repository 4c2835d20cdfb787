"""Logs, withheld output and counters: what a role says about itself."""
