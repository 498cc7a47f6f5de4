"""What a column's name suggests by its words: `userId`, `is_click`, `long view`, `click:token`."""

import re

LABELS = frozenset(
    (
        *("label", "target", "click", "clicked", "convert", "converted", "conversion", "purchase"),
        *("purchased", "purchases", "bought", "buy", "order", "ordered", "orders", "like", "liked"),
        *("likes", "follow", "followed", "share", "shared", "cart", "favorite", "favourite"),
        *("install", "signup", "subscribe", "download", "liked", "comment", "forward"),
    )
)
RATINGS = frozenset(("rating", "stars", "score", "ratings"))
SCENARIOS = frozenset(
    ("scenario", "site", "country", "market", "domain", "tab", "channel", "region", "locale")
)
PEOPLE = frozenset(("user", "member", "visitor", "customer", "device", "uid"))
SEARCHES = frozenset(("search", "session", "request", "query", "impression"))
TIMES = frozenset(
    ("ts", "time", "timestamp", "date", "day", "datetime", "when", "dt", "created", "at")
)
_IDENTIFIERS = frozenset(("id", "ids", "uid", "uuid", "key", "hash", "session", "search"))
_ENTITIES = frozenset(
    (
        *("user", "item", "movie", "film", "product", "article", "video", "song", "track", "book"),
        *("artist", "author", "brand", "shop", "store", "seller", "category", "genre", "ad"),
        *("campaign", "creative", "advertiser", "publisher", "app", "city", "zip", "occupation"),
        *("gender", "sku", "code", "type", "tag", "page", "customer", "member", "visitor"),
    )
)
# What RecBole's files add to a name.
_TYPES = frozenset(("token", "float", "seq"))


def tokens(name: str) -> "list[str]":
    """The words of a name, in lower case."""
    parts = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    found = [word.lower() for word in re.split(r"[^A-Za-z0-9]+", parts) if word]
    return found[:-1] if ":" in name and found[-1:] and found[-1] in _TYPES else found


def is_label(name: str) -> bool:
    """Whether it names an outcome, as `is_click` does and `click_count` does not."""
    found = tokens(name)
    return bool(found) and (found[-1] in LABELS or found[-2:] == ["long", "view"])


def is_identifier(name: str) -> bool:
    """Whether its values are ids, also where they are whole numbers."""
    found = tokens(name)
    return bool(found) and (found[-1] in _IDENTIFIERS or found[-1] in _ENTITIES)


def is_group(name: str, kinds: "frozenset[str]") -> bool:
    """Whether it names one of `kinds`, as `user`, `userId` and `search_id` do."""
    found = [word for word in tokens(name) if word not in ("id", "ids")]
    return len(found) == 1 and found[0] in kinds
