"""The keyring, its life cycle (rotation, retirement) and the keyed hashes."""
