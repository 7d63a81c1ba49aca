"""`python -m dataengine.demo.models FOLDER COUNT`: models to practise with, as GLB, with licences and captions."""

import sys
from pathlib import Path

from dataengine.demo.models import write_models

if len(sys.argv) != 3 or not sys.argv[2].isdecimal():
    sys.exit(__doc__.partition(":")[0].strip("`"))
paths = write_models(Path(sys.argv[1]), int(sys.argv[2]))
print(f"{len(paths)} models in {sys.argv[1]}")
