"""`python -m broadcast.cli`: the same command line where no `broadcast` script is on the path."""

import sys

from broadcast.cli import main

sys.exit(main())
