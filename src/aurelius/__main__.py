"""``python -m aurelius`` is the command ``aurelius``."""

import sys

from aurelius.cli.main import main

sys.exit(main())
