"""``python -m clsdm``."""

import sys

from clsdm.cli import main

if __name__ == "__main__":
    sys.exit(main())
