"""``python -m d2seg``, the same as the ``d2seg`` command."""

import sys

from d2seg.cli import main

if __name__ == "__main__":
    sys.exit(main())
