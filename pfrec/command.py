"""How every command starts, explains itself and fails.

What `--help` says of a command is its module's docstring: the first line says what it does, lines
that begin with its name are examples.
"""

import atexit
import contextlib
import difflib
import logging as std_logging
import os
import pathlib
import re
import shlex
import signal
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn, Optional

from absl import app, flags, logging

import pfrec
from pfrec import errors, postponed

_HELP = ("h", "?", "help", "helpshort")
_FULL_HELP = ("helpfull",)
_VERSION = ("version",)
_WIDTH = 100
_PACKAGES = ("pfrec", "tff_process", "export")
_groups: "dict[str, str]" = {}


class _Plainly(logging.PythonFormatter):
    """What we log reads as what commands print; what libraries log keeps its place and time."""

    def format(self, record: std_logging.LogRecord) -> str:
        if record.name.partition(".")[0] not in _PACKAGES:
            return super().format(record)
        kind = "WARNING" if record.levelno >= std_logging.WARNING else "note"
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return f"{kind}: {record.getMessage()}{trace}"


@contextlib.contextmanager
def group(title: str) -> Iterator[None]:
    """Puts the flags that are defined in the context under `title` in `--helpfull`."""
    before = set(flags.FLAGS)
    yield
    _groups.update(dict.fromkeys(set(flags.FLAGS) - before, title))


def run(
    main: "Callable[[list[str]], None]",
    *,
    common: Sequence[str] = (),
    go_on: Optional[str] = None,
) -> None:
    """Runs `main` as an absl app: flags first, one line and status 1 for a `PfrecError`; SIGTERM
    unwinds it.

    TensorFlow's start-up messages are silenced unless TF_CPP_MIN_LOG_LEVEL says otherwise, and what
    of it no command needs is put off (`postponed`).

    Args:
      main: receives the command line after flag parsing.
      common: the flags that `--help` shows, in this order; all of the command's own where empty.
      go_on: what is added to a command line that was interrupted to go on with its work: a flag,
        or empty text where the same command line does; None where there is nothing to go on with.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.get_absl_handler().setFormatter(_Plainly())
    postponed.postpone()
    asked = _asked(sys.argv[1:])
    if asked is not None:
        answer(_explanation(asked, main, common))

    def wrapped(argv: "list[str]") -> None:
        if len(argv) > 1:
            _fail(f"{argv[1]!r}: not a flag; every setting is given as --name=value")
        unwind_when_terminated()
        try:
            main(argv)
            sys.stdout.flush()
        except KeyboardInterrupt:
            _leave_interrupted(go_on)
        except BrokenPipeError:
            _silence()
            # What does nothing but tell has told as much as was read; work has stopped halfway.
            if go_on is not None:
                print(f"what reads the output is gone: {_interrupted(go_on)}", file=sys.stderr)
            sys.exit(1)
        except (ImportError, errors.PfrecError) as error:
            # Compiled code whose import a signal breaks off says an ImportError of its own, and who
            # catches that takes the package for one that is not there.
            stopped = _breaking_off_an_import(error)
            if isinstance(stopped, KeyboardInterrupt):
                _leave_interrupted(go_on)
            if stopped is not None:
                sys.exit(128 + signal.SIGTERM)
            if isinstance(error, errors.PfrecError):
                _fail(re.sub(r"\s*[\r\n]+\s*", " ", str(error)))
            raise

    app.run(wrapped, flags_parser=_parse_flags)


def answer(text: str) -> NoReturn:
    """Prints what was asked for and exits, with status 1 where whoever reads it is gone."""
    with contextlib.suppress(BrokenPipeError):
        print(text, flush=True)
        sys.exit(0)
    _silence()
    sys.exit(1)


def warn(text: str) -> None:
    """Tells the user at once of what does not stop the command but wants a look."""
    print(f"WARNING: {text}", file=sys.stderr, flush=True)


def refuse_idle(names: Sequence[str], why: str) -> None:
    """Checks that the command line gives none of some flags, which would do nothing.

    Args:
      names: of the flags.
      why: what they would do something to, as a clause.

    Raises:
      PfrecError: where it gives one.
    """
    for name in names:
        if not flags.FLAGS[name].using_default_value:
            raise errors.PfrecError(f"--{name}: {why}, so here it does nothing; leave it out")


def require_file(path: pathlib.Path, remedy: str) -> None:
    """Checks that a file is there, before anything heavy is imported to read it.

    Raises:
      PfrecError: where it is not.
    """
    if not path.is_file():
        raise errors.PfrecError(f"{path}: no such file; {remedy}")


def require_run(path: pathlib.Path) -> None:
    """The same for a run directory that `--run` names."""
    require_file(path / "config.json", "name the directory that pfrec-train wrote as --run")


def require_run_or_client(run: Optional[str], client_dir: Optional[str]) -> pathlib.Path:
    """The same for a command that takes `--run` or a silo's `--client_dir`; which directory it is.

    Raises:
      PfrecError: where both are given, or neither, or the directory is not of its kind.
    """
    if (run is None) == (client_dir is None):
        raise errors.PfrecError("give --run or --client_dir, one of them; --help says more")
    if run is not None:
        require_run(pathlib.Path(run))
        return pathlib.Path(run)
    assert client_dir is not None
    path = pathlib.Path(client_dir)
    remedy = "name the directory of a silo whose training is finished as --client_dir"
    require_file(path / "client.json", remedy)
    return path


def require_data(data: str) -> None:
    """The same for a dataset directory that `--data` names; 'synthetic' needs none."""
    if data != "synthetic":
        remedy = "run pfrec-convert to make it, or check --data"
        require_file(pathlib.Path(data) / "dataset.json", remedy)


def program() -> "list[str]":
    """The words that started this command: its script's name, or `python -m` and its module."""
    name = os.path.basename(sys.argv[0])
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return ["python", "-m", spec.name] if name.endswith(".py") and spec else [name]


def _asked(arguments: Sequence[str]) -> Optional[str]:
    """The first argument that asks for an explanation in place of work, without its dashes."""
    for argument in arguments:
        if argument == "--":
            return None
        name = argument.lstrip("-")
        if argument.startswith("-") and name in (*_HELP, *_FULL_HELP, *_VERSION):
            return name
    return None


def _explanation(asked: str, main: "Callable[[list[str]], None]", common: Sequence[str]) -> str:
    if asked in _VERSION:
        return f"pfrec {pfrec.__version__}"
    described = (sys.modules[main.__module__].__doc__ or "").strip().replace("`", "")
    summary = described.partition("\n")[0]
    examples = [line.strip() for line in described.splitlines()[1:]]
    own = _own_flags()
    chosen = [name for name in common if name in own] or own
    lines = [summary, ""]
    examples = [f"  {line}" for line in examples if line.startswith("pfrec-")]
    lines += [*examples, ""] if examples else []
    if asked in _FULL_HELP:
        for title in dict.fromkeys(["Common", *_groups.values(), "Others"]):
            names = [name for name in own if _group_of(name, common) == title]
            lines += [f"{title}:", *_described(names), ""] if names else []
    else:
        lines += _described(chosen)
        lines.append("")
    hidden = len(own) - len(chosen)
    if hidden and asked not in _FULL_HELP:
        lines.append(f"{hidden} more flags: --helpfull.")
    lines.append("--flagfile=FILE reads flags from a file, one a line; --version says the version.")
    return "\n".join(lines)


def _group_of(name: str, common: Sequence[str]) -> str:
    return "Common" if name in common else _groups.get(name, "Others")


def _own_flags() -> "list[str]":
    """The flags that are not absl's, in the order of their definition, without older names."""
    return [
        flag.name
        for module, defined in flags.FLAGS.flags_by_module_dict().items()
        if module.partition(".")[0] != "absl"
        for flag in defined
        if not (flag.help or "").startswith("Alias for ")
    ]


def _described(names: Sequence[str]) -> "list[str]":
    """A paragraph for each flag: its name, what it does and its default."""
    import textwrap

    lines = []
    for name in names:
        flag = flags.FLAGS[name]
        shown = flag.default not in (None, "", []) and flag.default is not False
        told = f" (default: {flag.default_as_str})".replace("'", "") if shown else ""
        # absl writes a flag's choices and repetition into its help.
        text = re.sub(r"^<[^<>]*>: |;\s+repeat this option.*$", "", flag.help) + told
        body = textwrap.wrap(text, _WIDTH - 6, break_long_words=False, break_on_hyphens=False)
        choices = getattr(flag.parser, "enum_values", None)
        value = "=" + "|".join(choices) if choices else "" if flag.boolean else "=..."
        lines += [f"  --{name}{value}", *(f"      {line}" for line in body)]
    return lines


def _parse_flags(argv: "list[str]") -> "list[str]":
    for argument in argv:
        # TensorFlow and JSON take text alone, and a path goes to both.
        if any("\ud800" <= letter <= "\udfff" for letter in argument):
            encoding = sys.getfilesystemencoding()
            _fail(f"{argument!a}: is no text in {encoding}; rename it, or set LC_ALL=C.UTF-8")
    try:
        rest = flags.FLAGS(argv)
        # absl shows by default what libraries say in passing through it, such as TFF of each graph
        # that holds nothing to optimise; `-v=0` does.
        if flags.FLAGS["verbosity"].using_default_value:
            flags.FLAGS.verbosity = logging.INFO
            logging.get_absl_logger().setLevel(std_logging.WARNING)
        return rest
    except flags.UnrecognizedFlagError as error:
        name = error.flagname
        near = difflib.get_close_matches(name, _own_flags(), 1)
        meant = f"did you mean --{near[0]}? " if near else ""
        _fail(f"--{name}: no such flag; {meant}--help lists the flags")
        raise AssertionError from error
    except UnicodeDecodeError as error:
        _fail(f"--flagfile: holds what is no UTF-8 ({error.reason}); flags stand there one a line")
        raise AssertionError from error
    except flags.Error as error:
        _fail(f"{_flag_fault(error)}; --help lists the flags")
        raise AssertionError from error


def _flag_fault(error: flags.Error) -> str:
    """What absl says of a flag, without what it wraps around it."""
    text = " ".join(str(error).split())
    missing = re.fullmatch(
        r"flag --(\w+)=None: Flag --\w+ must have a value other than None\.", text
    )
    return f"give --{missing[1]}" if missing else re.sub(r"^ERROR:: (?=Unable)", "", text)


class _TerminatedError(SystemExit):
    """SIGTERM came; of a class of our own, as those of Python are not weakly referenced."""


def unwind_when_terminated() -> None:
    """Lets SIGTERM end this process as an error does, so that what it holds is removed: folders of
    feature rows, versions that are half built, what AutoGraph wrote to read it back.

    Python drops an exception that is raised while an object is finalised. It is raised again each
    second until one is on its way.
    """
    raised: Optional[weakref.ref[_TerminatedError]] = None

    def leave(number: int, frame: object) -> None:
        nonlocal raised
        del number, frame
        if raised is not None and raised() is not None:
            return
        error = _TerminatedError(128 + signal.SIGTERM)
        raised = weakref.ref(error)
        signal.setitimer(signal.ITIMER_REAL, 1.0, 1.0)
        try:
            raise error
        finally:
            del error  # Its traceback holds this frame: with a name for it here it would stay.

    def unraisable(dropped: "sys.UnraisableHookArgs") -> None:
        if not isinstance(dropped.exc_value, _TerminatedError):
            sys.__unraisablehook__(dropped)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGALRM, leave)
    sys.unraisablehook = unraisable
    # While the interpreter itself goes, nobody handles an alarm any more: it would kill.
    atexit.register(signal.setitimer, signal.ITIMER_REAL, 0.0)


def _breaking_off_an_import(error: BaseException) -> Optional[BaseException]:
    """The signal's exception that broke off the import that an error tells of; None where none
    did.
    """
    found = error if isinstance(error, ImportError) else error.__cause__
    if not isinstance(found, ImportError):
        return None
    seen: set[int] = set()  # An error that is raised again may be among its own causes.
    while found is not None and id(found) not in seen:
        if isinstance(found, (KeyboardInterrupt, _TerminatedError)):
            return found
        seen.add(id(found))
        found = found.__context__ if found.__cause__ is None else found.__cause__
    return None


def _leave_interrupted(go_on: Optional[str]) -> NoReturn:
    print(_interrupted(go_on), file=sys.stderr)
    sys.exit(130)


def _interrupted(go_on: Optional[str]) -> str:
    if go_on is None:
        return "interrupted; what was complete is kept"
    words = [*program(), *sys.argv[1:]]
    if go_on and go_on not in words:
        words.append(go_on)
    return f"interrupted; go on with: {shlex.join(words)}"


def _silence() -> None:
    """For when the reader of our output is gone: nothing can be said to it any more, and Python
    must not try again at exit.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)
