"""The business tasks: one module a domain, each a contract and a function.

This is what a team adds to. Tasks know the engine (`sealwax`), never the HTTP
edge (`api`).
"""
