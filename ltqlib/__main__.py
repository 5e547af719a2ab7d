"""``python -m ltqlib`` is the command ``ltq``."""

import sys

from ltqlib.first.cli import main

sys.exit(main())
