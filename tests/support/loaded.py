"""What the server that processes are forked from has loaded: the commands, and what each server loads at its start.

Their console asks here whether it prints to a terminal. It does not: what is forked prints into a pipe or a file.
"""

import contextlib
import gc
import io

with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    import anyio._backends._asyncio  # noqa: F401
    import httpcore  # noqa: F401
    import uvloop  # noqa: F401

    import stoa.cli.main
    import stoa.cli.serve  # noqa: F401

gc.collect()
gc.freeze()  # So that a child, when it collects, copies no page of what it shares.
