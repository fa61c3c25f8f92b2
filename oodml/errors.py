"""What can be wrong in a user's world; a message says what, where, what was expected, what to do.

    OodmlError
    ├── DataError          images, folders, labels, vectors
    ├── FormatError        a file that is not what it should be, or that was changed by hand
    ├── UnknownNameError   a name that no registry knows
    ├── WeightsError       weights that do not fit their architecture
    ├── SplitError         classes that cannot be split as asked, or a split that fits no data
    └── RunError           runs that failed, or results that cannot be put together

The command line prints the message and exits with 1. A caller's mistake in Python is a
`ValueError`; anything else is a bug and keeps its traceback.
"""


class OodmlError(Exception):
    """The root: one sentence for the person who asked."""


class DataError(OodmlError):
    """Images, folders, labels or vectors that cannot be used as they are."""


class FormatError(OodmlError):
    """A file that is not of the expected kind or version, or whose content was changed."""


class UnknownNameError(OodmlError):
    """A name that is not registered; the nearest ones are listed."""


class WeightsError(OodmlError):
    """Weights that are not there, or do not fit the architecture."""


class SplitError(OodmlError):
    """Classes that cannot be split as asked, or a split that does not fit the data."""


class RunError(OodmlError):
    """Runs that failed, or results that do not belong together."""
