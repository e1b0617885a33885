"""`python -m ipaas`: the same as `ipaas`."""

from ipaas.cli import main

main()
