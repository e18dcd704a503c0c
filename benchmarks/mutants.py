"""How many wrong versions of the code ("mutants"), drawn at random, the quick tests detect.

    .venv/bin/pip install mutmut==3.8.1
    .venv/bin/python benchmarks/mutants.py SCRATCH [--draw 300] [--seed 0] [--processes 2]

We use mutmut because it records which tests reach a function and runs only these, in a fork that has already imported
the libraries. So a mutant takes seconds instead of minutes (with cosmic-ray). SCRATCH is a new folder for a copy of the
project. Mutants are drawn from the functions that the quick tests reach. Mutants that change only the words of a
message are left out: they change no number, and messages have tests of their own. A mutant is caught if a test fails,
or if the tests take a minute more than five times their usual time. A second call with the same SCRATCH, draw and seed
copies the changed files of the project and runs the surviving mutants again. The output of mutmut is in
SCRATCH/mutmut.log.
"""

import argparse
import ast
import difflib
import filecmp
import functools
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = (
    "limits",
    "limits/streaming",
    "ensembles",
    "policies",
    "preferences",
    "tables",
    "sampling",
    "rewards",
    "models",
)
MUTATED = (
    *(f"{folder}/*" for folder in FOLDERS),
    *(f"report/{name}.py" for name in ("claims/*", "numbers", "agreement")),
)
# the quick tests of the mutated modules: they start no study, server or engine
QUICK = ("limits", "preferences", "policies", "report", "sampling", "rewards", "tables", "models", "test_*.py")
SLOW = ("tests/*/test_*_study.py",)
COPIED = ("workflow", "tests", "config", "profiles", "resources", "docs", "benchmarks", "envs")
FILES = ("Snakefile", "README.md", "Makefile", "pyproject.toml", "CHANGELOG.md")
SETTINGS = """
[tool.mutmut]
source_paths = ["src"]
only_mutate = {only}
# compiled by numba
do_not_mutate = ["src/*/limits/streaming/kernels.py"]
also_copy = {copied}
do_not_mutate_patterns = ['^\\s*raise ', 'log\\.', 'uint64', '0x']
pytest_add_cli_args = {arguments}
pytest_add_cli_args_test_selection = {quick}
timeout_multiplier = 5
timeout_constant = 12
# Forks of a process that has imported these packages but used none: the threads of Polars do not survive a fork. Our
# own modules are not among them, because the code that they run on import is mutated too.
process_isolation = "forkserver"
forkserver_warmup = "import"
preload_modules_file = "imported.txt"
"""
IMPORTED = (
    *("pytest", "xdist", "hypothesis", "pydantic", "numpy", "polars", "pyarrow.parquet", "scipy.optimize"),
    *("scipy.stats", "numba", "sklearn.ensemble", "sympy", "torch", "transformers", "peft", "accelerate", "tokenizers"),
    *("h5py", "onnx", "onnxruntime", "matplotlib.pyplot", "seaborn", "arviz_stats", "jinja2", "yaml"),
    "snakemake.iocontainers",
)


def take_over(source: str | Path, target: str | Path) -> None:
    """Copy a file if it has changed: mutmut creates mutants again for files that are newer than their mutants."""
    if not Path(target).exists() or not filecmp.cmp(source, target, shallow=False):
        shutil.copy(source, target)


def lay_out(scratch: Path) -> None:
    """Create a copy of the project with the library in `src`, the only folder name that mutmut accepts."""
    folders = {ROOT / name: scratch / name for name in COPIED}
    for source, target in {**folders, scratch / "workflow/alignment_limits": scratch / "src/alignment_limits"}.items():
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(source, target, ignore=ignored, copy_function=take_over, dirs_exist_ok=True)
    for name in FILES:
        take_over(ROOT / name, scratch / name)
    (scratch / "imported.txt").write_text("\n".join(IMPORTED))
    slow = [f"--ignore-glob={pattern}" for pattern in SLOW]
    settings = SETTINGS.format(
        only=json.dumps([f"src/alignment_limits/{pattern}" for pattern in MUTATED]),
        copied=json.dumps([*COPIED, *FILES]),
        quick=json.dumps([str(p.relative_to(ROOT)) for name in QUICK for p in sorted(ROOT.glob(f"tests/{name}"))]),
        arguments=json.dumps(["-q", "-p", "no:cacheprovider", "-k", "not vllm", *slow]),
    )
    with (scratch / "pyproject.toml").open("a") as file:
        file.write(settings)


def mutmut(scratch: Path, names: list[str], processes: int) -> None:
    """Run the tests on these mutants, after mutmut created all mutants and recorded what each test reaches."""
    command = [str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", str(processes), *names]
    with (scratch / "mutmut.log").open("a") as log:
        subprocess.run(command, cwd=scratch, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=log, check=True)


def results(scratch: Path) -> dict[str, int | None]:
    """The exit code of the tests for each mutant (0: it survived; None: not run)."""
    found: dict[str, int | None] = {}
    for meta in (scratch / "mutants/src").rglob("*.meta"):
        found.update(json.loads(meta.read_text())["exit_code_by_key"])
    return found


def function(name: str) -> str:
    """The function of a mutant, as mutmut names it."""
    return name.rpartition("__mutmut_")[0]


@functools.cache
def versions(scratch: Path, module: str) -> dict[str, str]:
    """The source of each function of a mutated module, original and mutants, by mutmut's name for it."""
    path = scratch / "mutants/src" / f"{module.replace('.', '/')}.py"
    found = {}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and "__mutmut_" in node.name:
            name, node.name = node.name, function(node.name)
            found[name] = ast.unparse(node)
    return found


def difference(scratch: Path, name: str) -> list[str]:
    """The lines that a mutant removes (-) and adds (+)."""
    module, _, short = name.rpartition(".")
    sources = versions(scratch, module)
    before, after = (sources[key].splitlines() for key in (f"{function(short)}__mutmut_orig", short))
    return [line for line in difflib.unified_diff(before, after, lineterm="", n=0) if line[:1] in "+-"][2:]


def only_words(lines: list[str]) -> bool:
    """Whether a mutant changes only the words of a message (a string that contains a space)."""

    def blanked(line: str) -> str:
        tree = ast.parse(line[1:].strip().rstrip(":,") or "pass")
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
                node.value = ""
        return ast.dump(tree)

    try:
        return len(lines) == 2 and blanked(lines[0]) == blanked(lines[1])
    except SyntaxError:
        return False


def draw(scratch: Path, count: int, seed: int) -> list[str]:
    """Random mutants of the functions that the quick tests reach: those of the first call that still exist."""
    kept = scratch / f"drawn_{count}_{seed}.json"
    codes = results(scratch)
    if not kept.exists():
        stats = json.loads((scratch / "mutants/mutmut-stats.json").read_text())
        reached = {name for name, tests in stats["tests_by_mangled_function_name"].items() if tests}
        candidates = sorted(name for name in codes if function(name) in reached)
        print(f"{len(candidates)} mutants within reach", flush=True)
        random.Random(seed).shuffle(candidates)
        numeric = (name for name in candidates if not only_words(difference(scratch, name)))
        kept.write_text(json.dumps({name: difference(scratch, name) for name in itertools.islice(numeric, count)}))
    drawn = json.loads(kept.read_text())
    same = [name for name, lines in drawn.items() if name in codes and difference(scratch, name) == lines]
    if len(same) < len(drawn):
        print(f"{len(drawn) - len(same)} mutants of functions that have changed since are left out")
    return same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--draw", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    args.scratch.mkdir(parents=True, exist_ok=True)
    lay_out(args.scratch)
    mutmut(args.scratch, ["alignment_limits.limits.correction*__mutmut_1"], args.processes)
    drawn = draw(args.scratch, args.draw, args.seed)
    codes = results(args.scratch)
    if open_ones := [name for name in drawn if not codes[name]]:
        mutmut(args.scratch, open_ones, args.processes)
    codes = results(args.scratch)
    if unknown := [name for name in drawn if codes[name] is None]:
        raise SystemExit(f"{len(unknown)} mutants have not run: see {args.scratch}/mutmut.log")
    for name in (name for name in drawn if codes[name] == 0):
        print(name, *difference(args.scratch, name), sep="\n    ")
    folders: dict[str, list[int]] = {}
    for name in drawn:
        folders.setdefault(name.split(".")[1], []).append(codes[name] or 0)
    folders["all"] = [codes[name] or 0 for name in drawn]
    for folder, found in folders.items():
        broken, caught = found.count(255), len(found) - found.count(0)  # 255: the tests could not be imported
        timed = sum(code not in (0, 1, 3, 255) for code in found)
        print(f"{folder}: {caught} of {len(found)} caught, {timed} by their time, {broken} by the tests' imports")


if __name__ == "__main__":
    main()
