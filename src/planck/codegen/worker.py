"""A compiler process: reads modules from standard input, answers with object files."""

from __future__ import annotations

import json
import sys

from planck.codegen.llvm import compile_object
from planck.codegen.processes import read, write
from planck.errors import PlanckError
from planck.target import Target


def main() -> None:
    source_pipe, result_pipe = sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            header = json.loads(read(source_pipe))
            source = read(source_pipe).decode()
        except (EOFError, KeyboardInterrupt):
            return
        fields = header["target"]
        target = Target(fields["isa"], fields["arch"], tuple(fields["extras"]))
        try:
            body = compile_object(target, source, header["level"])
            status = b"ok"
        except PlanckError as error:
            body, status = str(error).encode(), b"failed"
        write(result_pipe, status)
        write(result_pipe, body)


if __name__ == "__main__":
    main()
