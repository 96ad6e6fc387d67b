"""Words of messages that depend on a number or on the word after them."""


def counted(n: int, one: str, many: str | None = None) -> str:
    """`1 image`, `3 images`; `many` where that is not `one` with an s: `counted(n, "image lies", "images lie")`."""
    return f"{n} {one if n == 1 else many or one + 's'}"


def lasting(seconds: float) -> str:
    """`45 seconds`, `12 minutes`, `3.5 hours`."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def with_article(noun: str) -> str:
    """`a string`, `an IntField`."""
    return f"{'an' if noun[:1].lower() in tuple('aeiou') else 'a'} {noun}"
