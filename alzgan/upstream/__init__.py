"""What alzgan uses of other libraries that they do not promise to keep: one file a library.

`tests/test_upstream.py` says which of these names is gone after an upgrade.
"""
