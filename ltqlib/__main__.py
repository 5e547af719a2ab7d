"""``python -m ltqlib`` is the command ``ltq``."""

import sys

from ltqlib.cli import main

sys.exit(main())
