"""Run the notebook of the documentation, and write its outputs into it.

    .venv/bin/python tests/workflow/notebook.py

The cells are plain Python, so they need no Jupyter: they run in order, in one namespace, in the notebook's folder.
"""

import ast
import base64
import contextlib
import io
import os
import sys
from pathlib import Path

import nbformat

NOTEBOOK = Path(__file__).parents[2] / "docs/quickstart.ipynb"


def run(notebook):
    """Outputs of each code cell: text, and a picture where a figure is drawn."""
    names = {}
    before = Path.cwd()
    os.chdir(NOTEBOOK.parent)
    try:
        for cell in notebook.cells:
            if cell.cell_type == "code":
                yield cell, *_run(cell.source, names)
    finally:
        os.chdir(before)


def _run(source, names):
    """What a cell prints, what its last expression shows, and the figure it draws."""
    tree, printed, figures = ast.parse(source), io.StringIO(), names.get("figure")
    last = tree.body.pop().value if isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "cell", "exec"), names)
        value = None if last is None else eval(compile(ast.Expression(last), "cell", "eval"), names)
    shown = "" if value is None else repr(value)
    figure = names.get("figure")
    return printed.getvalue(), shown, None if figure is figures else figure


def main():
    import matplotlib

    matplotlib.use("Agg")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for count, (cell, printed, shown, figure) in enumerate(run(notebook), start=1):
        cell.execution_count, cell.outputs = count, []
        if printed:
            cell.outputs.append(nbformat.v4.new_output("stream", name="stdout", text=printed))
        data = {"text/plain": shown} if shown else {}
        if figure is not None:
            picture = io.BytesIO()
            figure.savefig(picture, format="png", dpi=80, metadata={"Software": None})
            data["image/png"] = base64.b64encode(picture.getvalue()).decode()
        if data:
            kind = "execute_result" if shown else "display_data"
            more = {"execution_count": count} if shown else {}
            cell.outputs.append(nbformat.v4.new_output(kind, data=data, **more))
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    sys.exit(main())
