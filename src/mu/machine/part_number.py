"""The numbers of parts: what states call a part, and what people call it."""


class ListedNumber(int):
    """The number of a part that people have named in a list: to states its place there, to people the listed one."""

    listed: int

    def __new__(cls, place: int, listed: int) -> "ListedNumber":
        """The number of the part that stands in this place as `listed`."""
        made = super().__new__(cls, place)
        made.listed = listed
        return made


def listed(number: int) -> int:
    """What people call the part that states know by this number."""
    return number.listed if isinstance(number, ListedNumber) else number
