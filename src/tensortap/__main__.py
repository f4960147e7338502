"""`python -m tensortap`."""

from tensortap.cli.entry import main

main()
