"""How the code is laid out, in numbers: rooms, floors, imports that run up, long functions, width.

A room is what stands directly in a package, a folder or a file; it is one floor above the highest
of those that it imports, and rooms that import each other in a circle share a floor. Imports run up
where they close such a circle: as many as must go for none to be left.

    python -m benchmarks.structure [ROOT ...]

Each ROOT is a checkout; without one, this. Prints a Markdown table with a column for each.
"""

import argparse
import ast
import itertools
import pathlib
import re
import sys
from collections.abc import Iterator, Sequence

PACKAGES = ("tff_process", "export", "pfrec/data", "pfrec/models")
_ALL = ("pfrec", "tff_process", "export")
_WIDE, _MANY = 100, 7


def rooms(root: pathlib.Path, package: str) -> "dict[str, set[str]]":
    """What stands in a package, and what of it each imports."""
    name = package.replace("/", ".")
    found: dict[str, set[str]] = {}
    for file in sorted((root / package).rglob("*.py")):
        parts = file.relative_to(root / package).with_suffix("").parts
        if parts == ("__init__",):
            continue
        own = found.setdefault(parts[0], set())
        for imported in _imported(ast.parse(file.read_text(encoding="utf-8"))):
            if imported.startswith(f"{name}."):
                own.add(imported[len(name) + 1 :].partition(".")[0])
    return {room: (others & set(found)) - {room} for room, others in found.items()}


def _imported(tree: ast.AST) -> "Iterator[str]":
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floors(imports: "dict[str, set[str]]") -> int:
    """How many floors rooms stand on."""
    below = {room: _reached(imports, room) for room in imports}
    height = dict.fromkeys(imports, 1)
    for _ in imports:
        for room, others in imports.items():
            lower = [height[other] for other in others if room not in below[other]]
            circle = [height[other] for other in below[room] if room in below[other]]
            height[room] = max([height[room], *(1 + h for h in lower), *circle])
    return max(height.values(), default=0)


def _reached(imports: "dict[str, set[str]]", start: str) -> "set[str]":
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for other in imports[waiting.pop()] - found:
            found.add(other)
            waiting.append(other)
    return found


def upward(imports: "dict[str, set[str]]") -> int:
    """The least number of imports without which no rooms import each other in a circle."""
    below = {room: _reached(imports, room) for room in imports}
    inner = [
        (room, other)
        for room, others in imports.items()
        for other in others
        if room in below[other]
    ]
    for number in range(len(inner) + 1):
        for gone in itertools.combinations(inner, number):
            left = {
                room: {o for o in others if (room, o) not in gone}
                for room, others in imports.items()
            }
            if not any(room in _reached(left, room) for room in left):
                return number
    raise AssertionError("without any import there is no circle")


def _functions(root: pathlib.Path) -> "Iterator[tuple[int, int, str]]":
    """The lines, the parameters and the place of each function."""
    for package in _ALL:
        for file in sorted((root / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                    own = [arg for arg in given if arg.arg not in ("self", "cls")]
                    assert node.end_lineno is not None
                    place = f"{file.relative_to(root)}: {node.name}"
                    yield node.end_lineno - node.lineno + 1, len(own), place


def measured(root: pathlib.Path) -> "dict[str, str]":
    """What is measured of a checkout, by its name."""
    rows = {}
    for package in PACKAGES:
        imports = rooms(root, package)
        arrows = sum(map(len, imports.values()))
        rows[f"{package}: rooms, floors, imports between rooms, of them upward"] = (
            f"{len(imports)}, {floors(imports)}, {arrows}, {upward(imports)}"
        )
    texts = [
        file.read_text(encoding="utf-8")
        for package in _ALL
        for file in sorted((root / package).rglob("*.py"))
    ]
    lines, longest = max((lines, place) for lines, _, place in _functions(root))
    rows["files; of more than 400 lines"] = (
        f"{len(texts)}; {sum(len(text.splitlines()) > 400 for text in texts)}"
    )
    rows["longest function"] = f"{lines} lines, `{longest}`"
    rows[f"functions of {_MANY} parameters or more"] = str(
        sum(given >= _MANY for _, given, _ in _functions(root))
    )
    rows["`Any`, in how many of a thousand lines"] = "{}, {:.1f}".format(
        sum(len(re.findall(r"\bAny\b", text)) for text in texts),
        1000
        * sum(len(re.findall(r"\bAny\b", text)) for text in texts)
        / sum(len(text.splitlines()) for text in texts),
    )
    everywhere = [
        line
        for file in sorted(root.rglob("*.py"))
        if not any(part.startswith(".") or part == "build" for part in file.relative_to(root).parts)
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    rows[f"lines of code over {_WIDE} wide, tests included"] = str(
        sum(len(line) > _WIDE for line in everywhere)
    )
    prose = [
        line
        for file in [*sorted(root.glob("*.md")), *sorted((root / "docs").rglob("*.md"))]
        for line in file.read_text(encoding="utf-8").splitlines()
        if not line.lstrip().startswith("|")
    ]
    rows[f"lines of documents over {_WIDE} wide, without tables"] = str(
        sum(len(line) > _WIDE for line in prose)
    )
    return rows


def main(arguments: "Sequence[str]") -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("roots", nargs="*", metavar="ROOT", type=pathlib.Path)
    roots = parser.parse_args(arguments).roots or [pathlib.Path(__file__).resolve().parents[1]]
    for root in roots:
        if not all((root / package).is_dir() for package in PACKAGES):
            parser.error(f"{root}: no checkout of this project")
    columns = [measured(root) for root in roots]
    print("| | " + " | ".join(root.resolve().name for root in roots) + " |")
    print("| --- " * (len(roots) + 1) + "|")
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(column[name] for column in columns) + " |")


if __name__ == "__main__":
    main(sys.argv[1:])
