"""``python -m accelsim`` is the command line."""

import sys

from accelsim.cli import main

sys.exit(main())
