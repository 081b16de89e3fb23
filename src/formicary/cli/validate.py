"""`formicary validate`."""

from __future__ import annotations

import sys

import click

from formicary.cli import exits, options
from formicary.cli.output import emit, write


@click.command(short_help="Show every mistake in job files, with line and column.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@options.method
@options.output
def validate(files: tuple[str, ...], methods: tuple[str, ...], output: str) -> int:
    r"""Checks job files and shows every mistake at once; stores nothing. `-` reads standard input.

    A method that cannot run here is a warning: the file is right, and `--method KUBERNETES=SHELL` shows what a run
    with another method would say. So is a job to fork that is in none of the files: validate them together.

    \b
    Examples:
      formicary validate job.yaml
      formicary validate jobs/*.yaml --method KUBERNETES=SHELL --output json

    Exit status: 0 when every file is valid, else 2.
    """
    from formicary.cli.job_files import check_file

    replaced = options.read_methods(methods)
    checked = [check_file(file, replaced).as_a_file() for file in files]
    known = {definition.job_type for file in checked for definition in file.definitions}
    checked = [file.among(known) for file in checked]
    valid = all(file.valid for file in checked)
    if output != "table":
        emit(
            [
                {
                    "file": file.file,
                    "valid": file.valid,
                    "violations": [
                        {
                            "line": v.line,
                            "column": v.column,
                            "path": v.path,
                            "code": v.code,
                            "message": v.message,
                            "severity": v.severity,
                        }
                        for v in file.violations
                    ],
                }
                for file in checked
            ],
            output,
        )
        return exits.OK if valid else exits.INVALID
    for file in checked:
        for v in file.violations:
            kind = "error" if v.is_error else "warning"
            print(f"{kind}: {file.file}:{v.line}:{v.column}: {v.message}", file=sys.stderr)
        jobs = ", ".join(definition.job_type for definition in file.definitions)
        write(f"{file.file}: valid ({jobs})\n" if file.valid else f"{file.file}: not valid\n")
    return exits.OK if valid else exits.INVALID
