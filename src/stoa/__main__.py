"""`python -m stoa`."""

from stoa.cli.main import main

main()
