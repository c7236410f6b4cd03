"""The process that reads git repositories.

A package of its own, because a process starts with the front doors above its module.
"""
