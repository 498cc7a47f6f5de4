"""Sharing rules as they are given on the command line."""

from pfrec import errors


def parse(text: str, flag: str) -> "tuple[str, str]":
    """The group pattern and the rule of `GROUP=shared` or `GROUP=private`.

    Raises:
      PfrecError: where it is neither; the message names the flag.
    """
    group, equals, rule = text.partition("=")
    if not equals or not group or rule not in ("shared", "private"):
        raise errors.PfrecError(f"--{flag}: {text!r} is no sharing rule; give GROUP=shared or GROUP=private")
    return group, rule
