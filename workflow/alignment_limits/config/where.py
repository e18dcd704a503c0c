"""`python -m alignment_limits.config.where [study.yaml]`: the folder of a study's results."""

import sys
from pathlib import Path

import yaml

if __name__ == "__main__":
    file = Path(sys.argv[1] if len(sys.argv) > 1 else "config/config.yaml")
    print(f"results/{yaml.safe_load(file.read_text('utf-8')).get('study', 'safety')}")
