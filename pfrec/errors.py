"""The one error that pfrec shows to a user as a single line."""


class PfrecError(Exception):
    """Something a user can mend: bad input, a bad flag, a damaged file.

    The message names the place and the remedy. Commands print it as one line, without a traceback,
    and exit with status 1.
    """
