"""Submission of jobs: seal, record in the ledger, publish; periodic jobs."""
