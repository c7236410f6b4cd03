"""The documentation at `/docs`: the repository's own pages, which the wheel carries. Open to everybody, offline."""
