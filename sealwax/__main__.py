"""`python -m sealwax` is `sealwax`."""

from sealwax.cli import main

main()
