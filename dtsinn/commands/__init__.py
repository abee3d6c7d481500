"""Commands: each checks its arguments, calls one function, and prints.

Rooms are imported inside the commands, so that ``dtsinn --help`` does not wait for torch and Ray.
"""
