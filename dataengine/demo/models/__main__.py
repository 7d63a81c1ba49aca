"""`python -m dataengine.demo.models FOLDER COUNT`: models to practise with, as GLB, with licences and captions."""

import sys
from pathlib import Path

from dataengine.demo.models import write_models


def main() -> None:
    """Writes the models that the arguments ask for."""
    if len(sys.argv) != 3 or not sys.argv[2].isdecimal():
        sys.exit("usage: python -m dataengine.demo.models FOLDER COUNT")
    paths = write_models(Path(sys.argv[1]), int(sys.argv[2]))
    print(f"{len(paths)} models in {sys.argv[1]}")


if __name__ == "__main__":
    main()
