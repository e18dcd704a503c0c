"""Of wrong versions of the code, drawn at random, how many do the quick tests notice?

    .venv/bin/pip install mutmut==3.8.1
    .venv/bin/python benchmarks/mutants.py SCRATCH [--draw 300] [--seed 0] [--processes 2]

mutmut (and not cosmic-ray) because it records which tests reach a function and runs those alone, in a fork that has
the libraries imported already: seconds a mutant, not minutes. SCRATCH is a new folder that gets a copy of the project.
Mutants are drawn from the functions that the quick tests reach. Left out are those that change only the words of a
message: they change no number, and messages have tests of their own. In a second call with the same SCRATCH the
mutants that survived run again.
"""

import argparse
import ast
import difflib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
MUTATED = (
    *(f"{folder}/*" for folder in ("limits", "policies", "learning", "tables", "sampling", "rewards", "models")),
    *(f"report/{name}.py" for name in ("*claims", "lookup", "turning", "paired", "agreement")),
    *(f"{name}.py" for name in ("artifacts", "grid", "user_table", "score_table", "nested_scores", "partial_sums")),
)
# the quick tests of what is mutated: no study, server or engine is started
QUICK = ("limits", "learning", "policies", "report", "sampling", "rewards", "tables", "models", "test_*.py")
SLOW = ("tests/*/test_*_study.py",)
COPIED = ("workflow", "tests", "config", "profiles", "resources", "docs", "benchmarks", "envs")
FILES = ("Snakefile", "README.md", "Makefile", "pyproject.toml", "CHANGELOG.md")
SETTINGS = """
[tool.mutmut]
source_paths = ["src"]
only_mutate = {only}
# compiled by numba
do_not_mutate = ["src/alignment_limits/limits/fused*.py", "src/alignment_limits/limits/exact_sums.py"]
also_copy = {copied}
do_not_mutate_patterns = ['^\\s*raise ', 'log\\.', 'uint64', '0x']
pytest_add_cli_args = {arguments}
pytest_add_cli_args_test_selection = {quick}
timeout_multiplier = 5
"""


def lay_out(scratch: Path) -> None:
    """A copy of the project whose library lies in `src`, the only folder that mutmut's names allow."""
    for name in COPIED:
        shutil.copytree(ROOT / name, scratch / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in FILES:
        shutil.copy(ROOT / name, scratch)
    shutil.copytree(scratch / "workflow/alignment_limits", scratch / "src/alignment_limits")
    slow = [f"--ignore-glob={pattern}" for pattern in SLOW]
    settings = SETTINGS.format(
        only=json.dumps([f"src/alignment_limits/{pattern}" for pattern in MUTATED]),
        copied=json.dumps([*COPIED, *FILES]),
        quick=json.dumps([str(p.relative_to(ROOT)) for name in QUICK for p in sorted(ROOT.glob(f"tests/{name}"))]),
        arguments=json.dumps(["-x", "-q", "-p", "no:cacheprovider", *slow]),
    )
    with (scratch / "pyproject.toml").open("a") as file:
        file.write(settings)


def mutmut(scratch: Path, names: list[str], processes: int) -> None:
    """Run the tests on these mutants; the first call makes all mutants and records what each test reaches."""
    command = [Path(sys.executable).with_name("mutmut"), "run", "--max-children", str(processes), *names]
    subprocess.run(command, cwd=scratch, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)


def results(scratch: Path) -> dict[str, int | None]:
    """The exit code of the tests for each mutant (0: it survived; None: not run)."""
    found: dict[str, int | None] = {}
    for meta in (scratch / "mutants/src").rglob("*.meta"):
        found.update(json.loads(meta.read_text())["exit_code_by_key"])
    return found


def function(name: str) -> str:
    """The function of a mutant, as mutmut names it."""
    return name.rpartition("__mutmut_")[0]


def versions(scratch: Path, module: str) -> dict[str, str]:
    """The source of each function of a mutated module, original and mutants, by its last name."""
    path = scratch / "mutants/src" / f"{module.replace('.', '/')}.py"
    tree = ast.parse(path.read_text("utf-8"))
    return {n.name: ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}


def difference(name: str, sources: dict[str, str]) -> list[str]:
    """The lines that a mutant takes away (-) and puts in (+)."""
    short = name.rpartition(".")[2]
    before, after = (sources[key].splitlines()[1:] for key in (f"{function(short)}__mutmut_orig", short))
    return [line for line in difflib.unified_diff(before, after, lineterm="", n=0) if line[:1] in "+-"][2:]


def only_words(lines: list[str]) -> bool:
    """Whether a mutant changes nothing but the words of a message (a text with a space in it)."""

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--draw", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    if not args.scratch.exists():
        args.scratch.mkdir(parents=True)
        lay_out(args.scratch)
        mutmut(args.scratch, ["alignment_limits.limits.hermite*__mutmut_1"], args.processes)
    stats = json.loads((args.scratch / "mutants/mutmut-stats.json").read_text())
    reached = {name for name, tests in stats["tests_by_mangled_function_name"].items() if tests}
    candidates = sorted(name for name in results(args.scratch) if function(name) in reached)
    random.Random(args.seed).shuffle(candidates)
    sources: dict[str, dict[str, str]] = {}
    drawn: dict[str, list[str]] = {}
    for name in candidates:
        module = name.rpartition(".")[0]
        sources.setdefault(module, versions(args.scratch, module))
        lines = difference(name, sources[module])
        if not only_words(lines):
            drawn[name] = lines
        if len(drawn) == args.draw:
            break
    mutmut(args.scratch, list(drawn), args.processes)
    codes = results(args.scratch)
    survivors = [name for name in drawn if codes[name] == 0]
    for name in survivors:
        print(name, *drawn[name], sep="\n    ")
    folders: dict[str, list[bool]] = {}
    for name in drawn:
        folders.setdefault(name.split(".")[1], []).append(codes[name] != 0)
    for folder, caught in sorted(folders.items()):
        print(f"{folder}: {sum(caught)} of {len(caught)} caught")
    print(f"{len(drawn) - len(survivors)} of {len(drawn)} mutants caught, of {len(candidates)} in reach")


if __name__ == "__main__":
    main()
