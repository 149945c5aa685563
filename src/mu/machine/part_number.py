"""Numbers of parts: the number that states use, and the number that messages show."""


class ListedNumber(int):
    """The number of a part in a list that the user gave.

    As an integer it is the part's place in the list, which states use; `listed` is the number that the list has
    there, which messages show.
    """

    listed: int

    def __new__(cls, place: int, listed: int) -> "ListedNumber":
        """Returns the number of the part at `place`, shown as `listed`."""
        made = super().__new__(cls, place)
        made.listed = listed
        return made

    def __getnewargs__(self) -> tuple[int, int]:  # type: ignore[override]
        """Returns the arguments from which copies and pickles are made."""
        return int(self), self.listed


def listed(number: int) -> int:
    """Returns the number that messages show for the part that states know by this number."""
    return number.listed if isinstance(number, ListedNumber) else number
