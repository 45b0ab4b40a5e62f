"""``python -m clsdm``."""

import sys

from clsdm.app.cli import main

if __name__ == "__main__":
    sys.exit(main())
