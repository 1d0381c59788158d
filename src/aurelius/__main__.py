"""``python -m aurelius`` is the command ``aurelius``."""

import sys

from aurelius.cli import main

sys.exit(main())
