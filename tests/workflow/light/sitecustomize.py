"""On PYTHONPATH: a Python that can import only what the light lock installs, as on a machine that has nothing else."""

import importlib.metadata
import pkgutil
import re
import sys
from pathlib import Path

LOCK = Path(__file__).parents[3] / "envs/light.lock"


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


class OnlyLight:
    """Refuses the top-level modules of all other packages."""

    def __init__(self):
        locked = {plain(name) for name in re.findall(r"^([\w.-]+)==", LOCK.read_text("utf-8"), re.MULTILINE)}
        locked |= {"alignment-limits"}
        owners = importlib.metadata.packages_distributions()
        self.refused = {module for module, names in owners.items() if locked.isdisjoint(map(plain, names))}

    def find_spec(self, name, path=None, target=None):
        if name in self.refused:
            raise ModuleNotFoundError(f"No module named {name!r} (not in {LOCK.name})", name=name)


ONLY = OnlyLight()
sys.meta_path.insert(0, ONLY)
listed = pkgutil.iter_modules
# Snakemake looks for its plug-ins in this list
pkgutil.iter_modules = lambda *of: (found for found in listed(*of) if found.name not in ONLY.refused)
