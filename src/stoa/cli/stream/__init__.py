"""The stream of a run, as the Python client library reads it, over the standard library's HTTP.

All but `transport` is written by `tools/clients/carried.py` from `clients/python`.
"""
