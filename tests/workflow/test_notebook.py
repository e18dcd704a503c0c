"""The notebook of the documentation runs, and its outputs are those of today's library."""

import nbformat
from notebook import NOTEBOOK, run


def test_the_notebook_shows_what_its_cells_give():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell, printed, shown, figure in run(notebook):
        outputs = [output.get("data", output) for output in cell.outputs]
        assert "".join(output.get("text", "") for output in outputs) == printed
        assert "".join(output.get("text/plain", "") for output in outputs) == shown
        assert any("image/png" in output for output in outputs) == (figure is not None)
    assert sum(cell.cell_type == "code" for cell in notebook.cells) == 7
