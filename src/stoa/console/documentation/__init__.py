"""The documentation at `/docs`: the repository's pages, which the wheel contains. Public, and works offline."""
