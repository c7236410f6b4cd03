"""Backups: a directory of pieces that are named by their content, a manifest for each backup, and the way back.

Everything here works beside running servers; restoring wants an empty database. Why it is built as it is:
docs/decisions/0105-backups.md. Modules are imported by name, so that a server loads of it only what its schedule needs.
"""
