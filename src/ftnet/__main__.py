"""Makes ``python -m ftnet`` the same as the ``ftnet`` command."""

import sys

from ftnet.cli import main

if __name__ == "__main__":
    sys.exit(main())
