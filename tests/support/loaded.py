"""What the fork server has loaded: the commands, and what each server loads at its start.

Consoles ask here whether they print to a terminal. They do not: forked processes print to a pipe or a file.
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
gc.freeze()  # So that a garbage collection in a child copies no shared page.
