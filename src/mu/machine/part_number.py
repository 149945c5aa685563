"""The numbers of parts: what states call a part, and what people call it."""


class ListedNumber(int):
    """The number of a part of a list that people gave: states know the part by its place in the list, people by the
    number that is listed there."""

    listed: int

    def __new__(cls, place: int, listed: int) -> "ListedNumber":
        """The number of the part at `place`, which people call `listed`."""
        made = super().__new__(cls, place)
        made.listed = listed
        return made

    def __getnewargs__(self) -> tuple[int, int]:  # type: ignore[override]
        """What copies and pickles are made from."""
        return int(self), self.listed


def listed(number: int) -> int:
    """What people call the part that states know by this number."""
    return number.listed if isinstance(number, ListedNumber) else number
