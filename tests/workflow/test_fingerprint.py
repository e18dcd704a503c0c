"""An edit reruns the rules whose code it touches: fingerprints, and that every rule carries one."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from alignment_limits.jobs import fingerprint
from alignment_limits.jobs.fingerprint import closure, code_fingerprint
from alignment_limits.rewards.load import _LOADERS, module_of

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "workflow/scripts").glob("*.py"))


def rules_of(text):
    """The rules that have outputs (one without is a name for its inputs), by name, with what stands in them."""
    for start in re.finditer(r"^( *)rule(?: (\w+))?:\n", text, re.M):
        body = re.match(rf"(?:{start[1]} +\S.*\n|\n)*", text[start.end() :])[0]
        if "output:" in body:
            yield start[2] or "", body


WORKFLOW = "\n".join(f.read_text("utf-8") for f in sorted((ROOT / "workflow/rules").glob("*.smk")))
RULES = list(rules_of(WORKFLOW))
FIGURES = {"figure_policies", "figure_training_curves"}  # drawn by one script
CACHED = (
    fingerprint._file_below,
    fingerprint._read,
    fingerprint._ours,
    fingerprint._templates,
    fingerprint.code_fingerprint,
)
LOOPS = {"figure", "estimate", "page"}  # scripts of rules that are named by a table


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of ours with a chain script → a → b, and c that nobody imports."""
    inside = tmp_path / "alignment_limits"
    inside.mkdir()
    (inside / "__init__.py").write_text("")
    (inside / "a.py").write_text("from alignment_limits import b\n")
    (inside / "b.py").write_text('"""Says one."""\nONE = 1\n')
    (inside / "c.py").write_text("TWO = 2\n")
    (tmp_path / "script.py").write_text("def late():\n    from alignment_limits.a import b\n")
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)
    return tmp_path


def mark(package, *more):
    for cached in CACHED:
        cached.cache_clear()
    return code_fingerprint(str(package / "script.py"), *more)


def test_an_edit_in_a_module_imported_by_an_imported_module_counts(package):
    before = mark(package)
    (package / "alignment_limits/b.py").write_text('"""Says one."""\nONE = 11\n')
    assert mark(package) != before


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Where parsed modules are kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fingerprint._parsed.cache_clear()
    yield tmp_path / "cache/alignment_limits/modules.json"
    fingerprint._parsed.cache_clear()


def test_a_module_is_parsed_once_for_all_runs(package, kept, monkeypatch):
    before = mark(package)
    fingerprint._parsed.cache_clear()
    (package / "alignment_limits/c.py").write_text("THREE = 3\n")  # nobody imports it
    with monkeypatch.context() as patch:
        patch.setattr(fingerprint._Module, "of", None)
        assert mark(package) == before
    (package / "alignment_limits/b.py").write_text('"""Says one."""\nONE = 11\n')
    assert mark(package) != before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', '{"version": "another", "modules": {"a": 1}}'])
def test_a_damaged_file_of_parsed_modules_is_written_again(package, kept, text):
    before, good = mark(package), kept.read_text()
    kept.write_text(text)
    fingerprint._parsed.cache_clear()
    assert mark(package) == before
    assert kept.read_text() == good


def test_without_a_place_for_parsed_modules_they_are_parsed(package, kept):
    kept.parents[1].write_text("not a folder")
    assert len(mark(package)) == 3


def test_an_edit_of_a_template_counts_for_the_modules_next_to_it(package):
    (package / "alignment_limits/templates").mkdir()
    template = package / "alignment_limits/templates/page.html"
    template.write_text("<p>one</p>")
    before = mark(package)
    assert "templates/page.html" in before
    template.write_text("<p>two</p>")
    assert {k for k, v in mark(package).items() if before[k] != v} == {"templates/page.html"}


def test_what_is_imported_for_type_checkers_alone_does_not_count(package):
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from alignment_limits.c import TWO\nONE = 1\n"
    (package / "alignment_limits/b.py").write_text(text)
    before = mark(package)
    assert "c" not in before
    (package / "alignment_limits/b.py").write_text(text.replace("TWO", "TWO as SECOND"))
    (package / "alignment_limits/c.py").write_text("TWO = 22\n")
    assert mark(package) == before
    (package / "alignment_limits/b.py").write_text(text.replace("if TYPE_CHECKING:", "if ONE := 1:"))
    assert "c" in mark(package)


def test_comments_docstrings_and_touches_do_not_count(package):
    before = mark(package)
    (package / "alignment_limits/b.py").write_text('"""Says it\nat length."""\n\n# a comment\nONE = 1\n')
    (package / "script.py").touch()
    assert mark(package) == before


def test_an_edit_in_a_module_that_is_not_imported_does_not_count(package):
    before = mark(package)
    (package / "alignment_limits/c.py").write_text("TWO = 22\n")
    assert mark(package) == before


def test_a_module_added_to_an_import_joins(package):
    before = mark(package)
    (package / "alignment_limits/b.py").write_text("from . import c\nONE = 1\n")
    joined = mark(package)
    (package / "alignment_limits/c.py").write_text("TWO = 22\n")
    assert joined.keys() - before.keys() == {"c"}
    assert mark(package)["c"] != joined["c"]


def test_a_module_imported_by_its_name_counts(package):
    before = mark(package)
    (package / "alignment_limits/b.py").write_text(
        "import importlib\nONE = importlib.import_module('alignment_limits.c').TWO\n"
    )
    assert mark(package).keys() - before.keys() == {"c"}


def test_what_a_module_imported_by_its_name_returns_is_called_without_arguments(package):
    before = mark(package)
    (package / "alignment_limits/b.py").write_text(
        "from importlib import import_module\nONE = getattr(import_module('alignment_limits.c'), 'TWO').bit_length()\n"
    )
    assert mark(package).keys() - before.keys() == {"c"}


def test_modules_reached_dynamically_count_when_named(package):
    assert mark(package, "alignment_limits.c").keys() - mark(package).keys() == {"c"}
    with pytest.raises(FileNotFoundError, match=r"no module 'alignment_limits.none'"):
        code_fingerprint("alignment_limits.none")


def test_a_users_module_counts_with_what_it_imports_from_the_same_folder(package, monkeypatch):
    (package / "mine").mkdir()
    (package / "mine/__init__.py").write_text("from mine import words\n")
    (package / "mine/words.py").write_text("LIST = ['a']\n")
    monkeypatch.chdir(package)
    assert mark(package, "mine").keys() - mark(package).keys() == {"mine", "mine.words"}
    assert mark(package, "numpy.linalg").keys() - mark(package).keys() == {"numpy"}, "installed: its version"
    assert mark(package, "builtins") == mark(package)


def test_packages_that_matter_count_by_their_version(package, monkeypatch):
    (package / "alignment_limits/b.py").write_text("def late():\n    import sklearn.linear_model, numpy\n")
    assert mark(package).keys() == {"a", "b", "script.py", "scikit-learn"}


def test_wording_does_not_count_and_all_else_does(package):
    (package / "alignment_limits/b.py").write_text("say(f'{1} done')\nif 0:\n    raise ValueError('no')\n")
    before = mark(package)
    (package / "alignment_limits/b.py").write_text("say(f'{1} ready')\nif 0:\n    raise ValueError('none')\n")
    assert mark(package) == before
    (package / "alignment_limits/b.py").write_text("say(f'{1} done')\nif 0:\n    raise KeyError('no')\n")
    assert mark(package) != before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("f(x, ddof=0)", "f(x, ddof=1)"),
        ("f(x, ddof=0)", "f(x, axis=0)"),
        ("f(x, ddof=0)", "f(x)"),
        ("f(x, weights=g(y, clip=1))", "f(x, weights=g(y, clip=2))"),
        ("raise_(f(a=1))", "raise_(f(a=2))"),
        ("def f(x, *, a=1): return x", "def f(x, *, a=2): return x"),
        ("class A(B, metaclass=C): x = 1", "class A(B, metaclass=D): x = 1"),
    ],
)
def test_keyword_arguments_count(package, before, after):
    (package / "alignment_limits/b.py").write_text(f"{before}\n")
    first = mark(package)
    (package / "alignment_limits/b.py").write_text(f"{after}\n")
    assert mark(package)["b"] != first["b"]


def test_a_fields_description_does_not_count(package):
    (package / "alignment_limits/b.py").write_text("x = Field(1, ge=0, description='one')\n")
    first = mark(package)
    (package / "alignment_limits/b.py").write_text("x = Field(1, ge=0, description='the first')\n")
    assert mark(package) == first
    (package / "alignment_limits/b.py").write_text("x = Field(1, ge=1, description='one')\n")
    assert mark(package)["b"] != first["b"]


def test_modules_left_out_change_no_value(tmp_path):
    """They are few, exist, and import nothing that computes: neither arrays nor tables."""
    assert len(fingerprint.LEFT_OUT) <= 6
    for module in fingerprint.LEFT_OUT:
        imports = fingerprint._read(fingerprint._module_file(module)).imports
        imports -= {"torch"} if module.endswith("leases") else set()  # asked whether it sees a GPU, and nothing else
        assert not imports & {"numpy", "polars", "torch", "scipy", "pandas"}, module


@pytest.mark.parametrize(("name", "body"), RULES, ids=[name or "of a table" for name, _ in RULES])
def test_every_rule_is_a_script_with_its_fingerprint_its_settings_a_log_and_a_benchmark(name, body):
    script = re.search(r'script:\n +"\.\./scripts/(\w+)\.py"', body)[1]
    assert script in ({"figure"} if name in FIGURES else {name} if name else LOOPS)
    assert re.search(rf'code=(lambda w: |\w+_)?code\(\s*"{script}.py"', body)
    assert re.search(r"^\s+p=", body, re.M)
    assert "log:" in body
    assert "benchmark:" in body or "cache:" in body, "for the timeline; Snakemake refuses both"


def test_every_script_has_its_rule():
    assert {f.stem for f in SCRIPTS} == {name for name, _ in RULES if name} - FIGURES | LOOPS


def library_imports(script):
    """A script's own imports from the library, as statements."""
    tree = ast.parse((ROOT / "workflow/scripts" / script).read_text("utf-8"))
    ours = [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module.startswith("alignment_limits")]
    assert ours
    return "\n".join(map(ast.unparse, ours))


@pytest.mark.parametrize("script", ["estimate.py", "score.py", "sample.py", "headline.py"])
def test_what_a_script_imports_lies_in_its_closure(script):
    """Static closure against the modules Python really loads for the script's imports."""
    imports = library_imports(script)
    files = "(m for m, module in sys.modules.items() if m.split('.')[0] == 'alignment_limits' and module.__file__)"
    code = f"{imports}\nimport sys; print(*{files})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) <= set(closure([str(ROOT / "workflow/scripts" / script)]))


@pytest.mark.parametrize(
    "script", ["estimate.py", "standardise.py", "ensembles.py", "headline.py", "train_head.py", "score_trained.py"]
)
def test_estimators_and_heads_import_no_model_library(script):
    heavy = "import sys; assert not {'torch', 'vllm', 'transformers', 'sklearn'} & set(sys.modules), 'heavy import'"
    imports = library_imports(script)
    subprocess.run([sys.executable, "-c", f"{imports}\n{heavy}"], check=True)


def test_an_edit_of_figures_or_limits_never_touches_sampling_or_scoring():
    for script in ("fetch.py", "convert.py", "sample.py", "score.py"):
        modules = closure([str(ROOT / "workflow/scripts" / script)])
        strangers = [m for m in modules if re.match(r"alignment_limits\.(limits|figures|report)\b", m)]
        assert not strangers, f"{script} depends on {strangers}"
        assert "alignment_limits.study.study" not in modules, f"{script} reruns on every change of the study's types"


CHEAP = {"length", "lexicon", "rouge", "similarity"}  # share a module
COSTLY = sorted(_LOADERS.keys() - CHEAP)


def test_an_edit_of_one_costly_kind_of_reward_scores_by_no_other():
    modules = {kind: module_of(kind) for kind in COSTLY}
    assert len(set(modules.values())) == len(COSTLY) > 5
    for kind, own in modules.items():
        scored = closure([str(ROOT / "workflow/scripts/score.py"), own])
        assert not (set(modules.values()) - {own}) & set(scored), kind
        assert module_of("lexicon") not in scored, kind


def test_an_edit_of_sampling_scores_nothing():
    for kind in _LOADERS:
        scored = closure([str(ROOT / "workflow/scripts/score.py"), module_of(kind)])
        assert not [name for name in scored if name.startswith("alignment_limits.sampling")], kind
