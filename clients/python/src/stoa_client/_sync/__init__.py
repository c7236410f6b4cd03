# Written by tools/clients/unasync.py from _async/__init__.py; change that.
