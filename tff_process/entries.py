"""What a comparison runs: algorithms, each under the sharing policy that all have, or under one of its own."""

import dataclasses
import hashlib
import re

from pfrec import errors
from tff_process import sharing_rules
from tff_process.algorithms import registry


@dataclasses.dataclass(frozen=True)
class Entry:
    """One entry of `--algorithms`.

    Attributes:
      name: as it was given: `NAME`, or `NAME:GROUP=shared:GROUP=private...`.
      algorithm: the algorithm's name.
      sharing: rules that go over the policy that all algorithms have.
    """

    name: str
    algorithm: str
    sharing: "tuple[tuple[str, str], ...]" = ()

    @classmethod
    def parse(cls, text: str) -> "Entry":
        """The entry of a text.

        Raises:
          PfrecError: where the algorithm is unknown, or a rule is none or stands beside a pooled algorithm.
        """
        algorithm, *rules = text.split(":")
        registry.check(algorithm)
        if rules and algorithm in registry.POOLED:
            raise errors.PfrecError(f"--algorithms={text}: a pooled algorithm has no sharing policy; name it alone")
        return cls(text, algorithm, tuple(sharing_rules.parse(rule, "algorithms") for rule in rules))

    @property
    def directory(self) -> str:
        """Its directory below `runs`; a policy is named for people, and told from all others by its digest."""
        if not self.sharing:
            return self.algorithm
        words = re.sub(r"[^A-Za-z0-9]+", "-", self.name.replace("*", "all")).strip("-")
        return f"{words[:60]}-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"
