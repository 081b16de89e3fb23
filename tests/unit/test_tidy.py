"""The house rules that a machine can hold; each failure says what to do instead."""

import ast
import functools
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "formicary"
GENERATED = SOURCE / "v1"
THIS_FILE = Path(__file__).resolve()
EXCEPTIONS = Path(__file__).with_name("tidy_exceptions.txt")

MODULE_LINES = 700
FUNCTION_LINES = 70

UNTOLD = ("utils", "util", "helpers", "helper", "common", "base", "misc")

# What must not stand in any Python file of ours -> what to write instead.
BANNED_CODE = {
    r"\braise NotImplementedError\b": "write it, or leave it out; a Protocol's method has the body `...`",
    r"\b(TODO|FIXME|XXX)\b": "do it now or file it",
    r"\bdatetime\.utcnow\b|\butcfromtimestamp\b": "datetime.now(UTC): the naive form lies about its zone",
    r"\basyncio\.get_event_loop\(": "asyncio.get_running_loop()",
    r"\byaml\.(load|unsafe_load|full_load)\(": "the job-file reader of engine.jobs, or yaml.safe_load",
    r"\bunittest\.mock\b|\bMagicMock\b": "a fake: a small class that really does it in memory",
    r"\bshell=True": "a list of arguments; ['sh', '-c', text] where a shell is what the user asked for",
    r"except\s*:\s*(#|$)": "except Exception, or the class you mean",
    r"\bos\.system\(": "subprocess.run with a list of arguments",
    r"\btime\.clock\b": "time.perf_counter()",
}

# The same, for the package alone.
BANNED_IN_PACKAGE = {
    r"^\s*(import|from) pickle\b": "msgspec: pickles run code and bind data to class paths",
}

# What must not stand in any committed text file -> why.
BANNED_TEXT = {
    r"pypi\.org|pythonhosted\.org|registry\.npmjs|deb\.debian\.org": "the reader chooses the host: name the package",
    r"(?<![\w.$}/])/work/(main|shared|\.)|(?<![\w.])/opt/(pypi|wheels)|(?<![\w.])/root/": "a path of one machine",
    r"(?i)\b(anthropic|claude|chatgpt|openai|copilot)\b": "names no tool or vendor that has no part in the product",
    r"(?i)\b(whitelist|blacklist)\b": "allowed list, denied list",
    r"^(<{7}|>{7}) ": "a merge is not finished",
}

TEXT_SUFFIXES = {
    ".cfg",
    ".css",
    ".html",
    ".ini",
    ".json",
    ".lock",
    ".md",
    ".proto",
    ".py",
    ".pyi",
    ".sh",
    ".sql",
    ".toml",
    ".txt",
    ".yaml",
    ".yml",
    "",
}  # fmt: skip  (one item per line would take half a page)

DECISION_HEADINGS = ["## Status", "## Context", "## Decision", "## Consequences"]


def committed_files() -> list[Path]:
    """Every file of the project, as git knows them; in an unpacked source archive, everything there is."""
    if (ROOT / ".git").exists():
        listing = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        found = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    else:
        found = [path for path in ROOT.rglob("*") if not any(part.startswith(".") for part in path.parts)]
    return sorted(path for path in found if path.is_file())


FILES = committed_files()
PYTHON = [path for path in FILES if path.suffix == ".py" and not path.is_relative_to(GENERATED)]
OURS = [path for path in PYTHON if path != THIS_FILE]
DOCUMENTS = [path for path in FILES if path.suffix == ".md"]


def short(path: Path) -> str:
    """The path as the reader of a failure knows it."""
    return path.relative_to(ROOT).as_posix()


def report(violations: list[str]) -> None:
    """Fails with every violation at once."""
    if violations:
        pytest.fail("\n" + "\n".join(violations), pytrace=False)


def matches(path: Path, rules: dict[str, str]) -> Iterator[str]:
    """A sentence for each line of the file that breaks one of the rules."""
    text = path.read_text(encoding="utf-8")
    for pattern, instead in rules.items():
        if re.search(pattern, text, flags=re.M):
            for number, line in enumerate(text.splitlines(), 1):
                found = re.search(pattern, line)
                if found:
                    yield f"{short(path)}:{number}: {found.group(0).strip()!r}: {instead}"


@functools.cache
def read_code(path: Path) -> tuple[list[tuple[str, int, int]], set[str]]:
    """What the rules ask of a file's syntax tree, which is made once and not kept: its sizes, the names it mentions."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    return [(short(path), len(text.splitlines()), MODULE_LINES), *functions(path, tree)], set(mentioned(tree))


def test_banned_names_are_not_used() -> None:
    """No Python file uses a banned name; the failure tells the replacement."""
    package = [path for path in OURS if path.is_relative_to(SOURCE)]
    violations = [sentence for path in OURS for sentence in matches(path, BANNED_CODE)]
    report(violations + [sentence for path in package for sentence in matches(path, BANNED_IN_PACKAGE)])


def test_no_committed_file_names_a_machine_a_host_or_a_vendor() -> None:
    """Committed text holds no machine path, registry host, vendor's name or merge mark."""
    texts = [path for path in FILES if path.suffix in TEXT_SUFFIXES and path not in (THIS_FILE, ROOT / "LICENSE")]
    report([sentence for path in texts for sentence in matches(path, BANNED_TEXT)])


def test_modules_are_named_by_what_they_do() -> None:
    """No module or package collects strangers under a name that says nothing."""
    named = [path for path in PYTHON if path.stem in UNTOLD or set(path.relative_to(ROOT).parts[:-1]) & set(UNTOLD)]
    report([f"{short(path)}: name the noun or the duty" for path in named])


def functions(path: Path, tree: ast.Module) -> Iterator[tuple[str, int, int]]:
    """(what, lines, most lines allowed) for each function of the module."""
    stack: list[tuple[str, ast.AST]] = [("", tree)]
    while stack:
        prefix, node = stack.pop()
        for child in ast.iter_child_nodes(node):
            name = getattr(child, "name", None)
            inner = prefix
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = f"{prefix}.{name}" if prefix else str(name)
                if not isinstance(child, ast.ClassDef):
                    yield f"{short(path)}::{inner}", (child.end_lineno or 0) - child.lineno + 1, FUNCTION_LINES
            if not isinstance(child, ast.expr):  # no function is defined within an expression
                stack.append((inner, child))


def test_modules_and_functions_stay_small() -> None:
    """Modules have at most 700 lines, functions 70; the list of exceptions may only shrink."""
    lines = [line.split("#")[0].split() for line in EXCEPTIONS.read_text(encoding="utf-8").splitlines()]
    allowed = {what: int(size) for what, size in (line for line in lines if line)}
    violations = []
    for path in PYTHON:
        for what, size, most in read_code(path)[0]:
            known = allowed.pop(what, None)
            if known is None and size > most:
                violations.append(f"{what}: {size} lines, at most {most}: split it by duty")
            elif known is not None and size > known:
                violations.append(f"{what}: grew from {known} to {size} lines; it may only shrink")
            elif known is not None and (size < known or size <= most):
                violations.append(f"{what}: shrank to {size}: lower its number in {short(EXCEPTIONS)} or drop the line")
    violations += [f"{short(EXCEPTIONS)}: {what} is gone: drop the line" for what in allowed]
    report(violations)


def test_every_suppression_states_its_reason() -> None:
    """`type: ignore[code]`, `noqa: CODE` and their kin name a code and say why, on the same line."""
    kinds = {
        r"type:\s*ignore": r"type:\s*ignore\[[\w, -]+\]\s*(?:#\s*)?(?P<reason>.*)",
        r"noqa\b": r"noqa:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*\s*(?:[#:-]\s*)?(?P<reason>.*)",
        r"pyright:\s*ignore": r"pyright:\s*ignore\[[\w, ]+\]\s*(?:#\s*)?(?P<reason>.*)",
        r"pragma:\s*no cover": r"pragma:\s*no cover\s*(?:[#:-]\s*)?(?P<reason>.*)",
    }
    violations = []
    for path in OURS:
        text = path.read_text(encoding="utf-8")
        if not re.search("|".join(kinds), text):
            continue
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type != tokenize.COMMENT:
                continue
            for kind, form in kinds.items():
                if not re.match(rf"#\s*{kind}", token.string):
                    continue
                found = re.search(form, token.string)
                if found is None or len(found.group("reason").strip(" ()#")) < 8:
                    where = f"{short(path)}:{token.start[0]}"
                    violations.append(f"{where}: {token.string!r}: name the code and add the reason after it")
    report(violations)


def mentioned(tree: ast.Module) -> Iterator[str]:
    """Every dotted name that a file imports or names in a string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "formicary." in node.value:
            yield from re.findall(r"formicary(?:\.\w+)+", node.value)


def test_no_module_is_an_orphan() -> None:
    """Every module of the package is imported by another one, or is an entry point."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    entries = {target.partition(":")[0] for target in project["scripts"].values()}
    reached = entries | {"formicary", "formicary.__main__"}
    modules = {}
    for path in PYTHON:
        if path.is_relative_to(SOURCE):
            parts = path.relative_to(SOURCE.parent).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            modules[name] = path
            reached |= {other for other in read_code(path)[1] if other != name}
    with_parents = {".".join(name.split(".")[:k]) for name in reached for k in range(1, name.count(".") + 2)}
    orphans = [path for name, path in sorted(modules.items()) if name not in with_parents]
    report([f"{short(path)}: nothing imports it: use it or remove it" for path in orphans])


def test_documents_have_one_title() -> None:
    """Every Markdown document opens with one `#` title and has no second one."""
    violations = []
    for path in DOCUMENTS:
        if path.is_relative_to(ROOT / "changelog.d"):
            continue
        text = re.sub(r"^(```|~~~).*?^\1", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
        titles = re.findall(r"^# .+$", text, flags=re.M)
        if len(titles) != 1:
            violations.append(f"{short(path)}: {len(titles)} titles, must be one")
    report(violations)


def test_links_between_documents_lead_somewhere() -> None:
    """A relative link in a Markdown document names a file that is there."""
    violations = []
    for path in DOCUMENTS:
        text = re.sub(r"^(```|~~~).*?^\1", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text):
            if "://" not in target and not target.startswith("mailto:") and not (path.parent / target).exists():
                violations.append(f"{short(path)}: {target} is not there")
    report(violations)


def test_decision_records_have_their_four_parts() -> None:
    """Each record in docs/decisions is numbered, short, and has status, context, decision and consequences."""
    violations = []
    for path in sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md")):
        lines = path.read_text(encoding="utf-8").splitlines()
        if [line for line in lines if line.startswith("## ")] != DECISION_HEADINGS:
            violations.append(f"{short(path)}: its headings must be {', '.join(DECISION_HEADINGS)}")
        if len(lines) > 60:
            violations.append(f"{short(path)}: {len(lines)} lines: a record is short, at most 60")
    report(violations)


def test_every_dependency_has_its_reason_on_record() -> None:
    """docs/decisions/dependencies.md has a row for each package that pyproject.toml names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    names = {re.split(r"[\[<>=~! ]", one)[0] for one in wanted} - {"formicary"}
    record = (ROOT / "docs" / "decisions" / "dependencies.md").read_text(encoding="utf-8")
    report(
        [f"{name}: no reason in docs/decisions/dependencies.md" for name in sorted(names) if f"`{name}`" not in record]
    )


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_locks_pin_hashes_and_name_no_place(name: str) -> None:
    """A lock file has an exact version and a hash for each package, no option line and no address."""
    violations = []
    text = re.sub(r"^\s*#.*$", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.M)
    for entry in re.sub(r"\\\n", " ", text).splitlines():
        if entry.strip() and not re.fullmatch(r"[\w.-]+==\S+(\s*;.+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*", entry):
            violations.append(f"{name}: {entry.split()[0]}: must be name==version with sha256 hashes, nothing else")
    report(violations)


def test_generated_code_is_current(tmp_path: Path) -> None:
    """src/formicary/v1 is what proto/ generates; otherwise run `make proto`."""
    command = [sys.executable, "-W", "ignore", "proto/generate.py", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True)
    fresh = {path.relative_to(tmp_path / "formicary" / "v1"): path.read_text() for path in tmp_path.rglob("*_pb2*.py*")}
    stored = {
        path.relative_to(GENERATED): path.read_text() for path in GENERATED.rglob("*_pb2*.py*") if path.suffix != ".pyc"
    }
    stale = [str(name) for name in sorted(fresh.keys() | stored.keys()) if fresh.get(name) != stored.get(name)]
    report([f"src/formicary/v1/{name}: not what proto/ generates: run `make proto`" for name in stale])


def test_reference_pages_are_current() -> None:
    """The generated pages of docs/reference say what the code says; otherwise run `make docs`."""
    done = subprocess.run([sys.executable, "-m", "docs.generate", "--check"], cwd=ROOT, capture_output=True, text=True)
    report([line for line in (done.stdout + done.stderr).splitlines() if done.returncode])
