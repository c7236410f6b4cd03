"""Reads a run's stream like the Python client library, but over the standard library's HTTP.

`tools/clients/carried.py` copies all modules except `transport` from `clients/python`.
"""
