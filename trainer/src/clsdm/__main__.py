"""``python -m clsdm``."""

import sys

from clsdm.cli import main

sys.exit(main())
