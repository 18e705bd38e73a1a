"""Every error that a user can cause or mend. Anything else that is raised is a bug.

A message says what, where, expected against found, and what to do. ``cli.main`` turns the class into an exit code.
"""


class RsfcError(Exception):
    """Base of all errors that this package raises on purpose."""


class InputError(RsfcError):
    """The input cannot be used as it is: a file, a table, a setting, or two of them that do not fit each other."""


class BackendError(RsfcError):
    """The asked-for compute device is missing or unusable."""


class ResourceError(RsfcError):
    """Memory, disk, or a part of the installation is missing."""
