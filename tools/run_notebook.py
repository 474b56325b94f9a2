"""Run the code of a notebook from top to bottom in a fresh process, and store or compare what its cells give.

python tools/run_notebook.py docs/surgery.ipynb            stores the outputs in the notebook
python tools/run_notebook.py docs/surgery.ipynb --check    writes nothing; fails where a cell fails or gives another
"""

import argparse
import ast
import contextlib
import io
import json
import pprint
import sys
from pathlib import Path
from typing import Any


def run(code: str, name: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a cell and give its outputs as a notebook keeps them: what is printed, and the value of a last expression."""
    tree = ast.parse(code, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, name, "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), name, "eval"), names)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        outputs.append({"name": "stdout", "output_type": "stream", "text": lines(printed.getvalue())})
    if value is not None:
        data = {"text/plain": lines(pprint.pformat(value, width=100))}
        if hasattr(value, "_repr_html_"):
            data = {"text/html": lines(value._repr_html_()), **data}
        outputs.append({"data": data, "execution_count": None, "metadata": {}, "output_type": "execute_result"})
    return outputs


def lines(text: str) -> list[str]:
    """A text as notebooks keep it."""
    return text.splitlines(keepends=True)


def main() -> None:
    """Run the notebook that is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    notebook = json.loads(given.notebook.read_text(encoding="utf-8"))
    names: dict[str, Any] = {"__name__": "__main__"}
    for count, cell in enumerate((cell for cell in notebook["cells"] if cell["cell_type"] == "code"), start=1):
        code = "".join(cell["source"])
        try:
            outputs = run(code, f"<cell {count}>", names)
        except Exception as error:
            error.add_note(f"in cell {count} of {given.notebook}:\n{code}")
            raise
        for output in outputs:
            if "execution_count" in output:
                output["execution_count"] = count
        if given.check and outputs != cell["outputs"]:
            sys.exit(
                f"cell {count} of {given.notebook} gives something else than it shows:\n{code}\n"
                f"shown: {cell['outputs']}\ngiven: {outputs}\npython tools/run_notebook.py {given.notebook} stores it"
            )
        cell.update(outputs=outputs, execution_count=count)
    if not given.check:
        given.notebook.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
