"""Numbers with what they count, as messages say them."""


def amount(number: int, noun: str, plural: str = "") -> str:
    """A number and its noun.

        >>> amount(1, "round"), amount(1500, "row"), amount(2, "batch", "batches")
        ('1 round', '1,500 rows', '2 batches')

    Args:
      number: how many.
      noun: of one.
      plural: of several; the noun with an s where it is empty.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
