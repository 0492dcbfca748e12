"""`python -m broadcast.server`: what `broadcast up` keeps alive."""

import logging
import sys

from broadcast.server import serve
from broadcast.settings import load

logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
sys.exit(serve(load()))
