"""How every command starts and how it fails."""

import os
import sys
from collections.abc import Callable

from absl import app, flags

from pfrec import errors


def run(main: Callable[[list[str]], None]) -> None:
    """Runs `main` as an absl app: flags first, one line and status 1 for a `PfrecError`.

    TensorFlow's start-up messages are silenced unless TF_CPP_MIN_LOG_LEVEL says otherwise.

    Args:
      main: receives the command line after flag parsing.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _show_flags_in_help()

    def wrapped(argv: list[str]) -> None:
        if len(argv) > 1:
            _fail(f"{argv[1]!r}: not a flag; every setting is given as --name=value")
        try:
            main(argv)
        except errors.PfrecError as error:
            _fail(" ".join(str(error).split()))
        except KeyboardInterrupt:
            print("interrupted; what was complete is kept", file=sys.stderr)
            sys.exit(130)
        except BrokenPipeError:
            # The reader of our output is gone: nothing can be said to it any more, and Python must
            # not try again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)

    app.run(wrapped, flags_parser=_parse_flags)


def _show_flags_in_help() -> None:
    """Makes `--help` list the command's flags: absl lists those of the main module alone,
    which is the script that imported us.
    """
    for module, defined in flags.FLAGS.flags_by_module_dict().items():
        if module.partition(".")[0] != "absl":
            for flag in defined:
                flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)


def _parse_flags(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _fail(f"{' '.join(str(error).split())}; --help lists the flags")
        raise AssertionError from error


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)
