"""``python -m helm_ase.cli``."""

import sys

from helm_ase.cli import main

sys.exit(main())
