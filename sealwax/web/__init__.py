"""The HTTP edge: authenticates, validates, enriches, seals and enqueues.

It holds the workers' public key only: what it has queued it cannot open again.
"""
