"""Formats numbers with their units, as the display shows them."""


def duration(seconds: float) -> str:
    """Returns `0:07`, `12:30`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def megabytes(size: float) -> str:
    """Returns `0.4 MB`, `12.3 MB`, `4.5 GB`, with decimal units."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def span(seconds: float) -> str:
    """Returns `0.42 s`, `12.3 s`, `20:05`."""
    return f"{seconds:.3g} s" if seconds < 600 else duration(seconds)


def counted(number: int, noun: str) -> str:
    """Returns `1 worker`, `1,200 workers`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def in_megabytes(size: float) -> str:
    """Returns bytes as megabytes, without the unit."""
    return short(size / 1e6)


def short(number: float) -> str:
    """Returns a number in few characters: `0.02`, `4.1`, `120`, `1,234`."""
    return (
        f"{number:,.0f}"
        if number >= 100 or number == round(number)
        else f"{number:.1f}"
        if number >= 1
        else f"{number:.2g}"
    )
