"""Private names of other libraries that alzgan uses, which an upgrade may remove: one file a library.

`tests/test_upstream.py` names those that are gone.
"""
