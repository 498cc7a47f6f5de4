"""What a comparison runs: algorithms,
each under the settings and the sharing policy that all have, or under some of its own.
"""

import dataclasses
import hashlib
import re

from pfrec import errors
from pfrec import sharing as sharing_lib
from tff_process.algorithms import registry

# A flag and anything but a sharing rule's end.
_SETTING = re.compile(r"[a-z][a-z0-9_]*=(?!(shared|private)$).+")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One entry of `--algorithms`.

    Attributes:
      name: as it was given: `NAME`, or `NAME:GROUP=shared:GROUP=private:FLAG=VALUE...`; NAME
        may be `MODULE:NAME` of the user's own.
      algorithm: the algorithm's name.
      sharing: rules that go over the policy that all algorithms have.
      settings: names and texts of flags that go over what all are given.
    """

    name: str
    algorithm: str
    sharing: "tuple[tuple[str, str], ...]" = ()
    settings: "tuple[tuple[str, str], ...]" = ()

    @classmethod
    def parse(cls, text: str) -> "Entry":
        """The entry of a text.

        Raises:
          PfrecError: where the algorithm is unknown, or a rule is none or stands beside a pooled
            algorithm.
        """
        algorithm, given = registry.split(text)
        registry.check(algorithm)
        settings = [rule for rule in given if _SETTING.fullmatch(rule)]
        rules = [rule for rule in given if rule not in settings]
        if rules and registry.is_pooled(algorithm):
            raise errors.PfrecError(
                f"--algorithms={text}: a pooled algorithm has no sharing policy; name it alone"
            )
        return cls(
            text,
            algorithm,
            tuple(sharing_lib.parse(rule, "algorithms") for rule in rules),
            tuple(
                (name, value) for name, _, value in (setting.partition("=") for setting in settings)
            ),
        )

    def with_setting(self, name: str, value: str) -> "Entry":
        """The same with one more flag of its own."""
        return self.parse(f"{self.name}:{name}={value}")

    @property
    def directory(self) -> str:
        """Its directory below `runs`; what it has of its own is named for people,
        and told from all others by its digest.
        """
        if not self.sharing and not self.settings:
            return self.algorithm
        words = re.sub(r"[^A-Za-z0-9]+", "-", self.name.replace("*", "all")).strip("-")
        return f"{words[:60]}-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"
