"""JSON that is cheap to send and expensive to parse, each near the size limit of an ordinary body."""

HOSTILE_JSON = {
    "lists": b'{"metadata": [' + b"[]," * 349_000 + b"1]}",
    "objects": b'{"metadata": [' + b"{}," * 349_000 + b"1]}",
    "numbers": b'{"metadata": [' + b"1," * 500_000 + b"1]}",
    "deep": b'{"metadata": ' + b"[" * 400_000,
    "deep objects": b'{"metadata": ' + b'{"a":' * 150_000,
    "keys": b'{"metadata": {' + b",".join(b'"%d":1' % number for number in range(90_000)) + b"}}",
    "digits": b'{"metadata": {"n": ' + b"9" * 1_000_000 + b"}}",
    "escapes": b'{"title": "' + rb"\u0041" * 170_000 + b'"}',
    "surrogates": b'{"title": "' + rb"\ud800" * 170_000 + b'"}',
    "unclosed": b'{"title": "' + b"\\" * 1_000_000,
}
