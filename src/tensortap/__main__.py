"""`python -m tensortap`."""

from tensortap.cli.main import main

main()
