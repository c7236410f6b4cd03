"""The process that reads git repositories.

A package of its own, because a new process imports every package above its module.
"""
