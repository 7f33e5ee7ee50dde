"""The code of a page as a reader would paste it, block after block: ``python .ci/follow.py PAGE``."""

import doctest
import re
import sys
from pathlib import Path

BLOCK = re.compile(r"^```(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPTIONS = re.compile(r"\A---\n.*?^---\n", re.MULTILINE | re.DOTALL)
PAGE = Path(sys.argv[1])
given: dict[str, object] = {"__name__": "__main__"}
count = 0
for language, block in BLOCK.findall(PAGE.read_text()):
    code = OPTIONS.sub("", block)
    if language == "{code-cell}":
        exec(compile(code, str(PAGE), "exec"), given)
    elif ">>>" in code:
        test = doctest.DocTestParser().get_doctest(code, given, PAGE.name, str(PAGE), 0)
        failed = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, clear_globs=False).failed
        assert not failed, f"{PAGE.name}: {failed} examples failed"
    else:
        continue
    count += 1
print(f"{PAGE.name}: {count} blocks ran")
