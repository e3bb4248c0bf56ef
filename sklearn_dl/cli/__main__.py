"""``python -m sklearn_dl.cli``."""

import sys

from sklearn_dl.cli import main

if __name__ == "__main__":
    sys.exit(main())
