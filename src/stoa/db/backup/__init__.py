"""Backups: a directory of pieces that are named by their content, a manifest for each backup, and the restore.

Everything here works beside running servers, except that a restore needs an empty database. The reasons for the design:
docs/decisions/0105-backups.md. Modules are imported by name, so that a server loads only what its schedule needs.
"""
