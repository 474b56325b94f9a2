"""Numbers as people write them."""


def count(number: int) -> str:
    """A count of parameters.

    >>> count(8194), count(138357544), count(500)
    ('8.2 k', '138.4 M', '500')
    """
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return str(number)


def some(number: int, what: str) -> str:
    """A number of things, which are more than one unless it is 1.

    >>> some(1, "epoch"), some(2000, "step")
    ('1 epoch', '2,000 steps')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def megabytes(number: int) -> str:
    """Bytes.

    >>> megabytes(537_000_000), megabytes(41_000_000_000), megabytes(1200)
    ('537 MB', '41.0 GB', '1.2 kB')
    """
    if number < 1e6:
        return f"{number / 1e3:.1f} kB"
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.3g} MB"


def duration(seconds: float) -> str:
    """A time span.

    >>> duration(7.4), duration(211), duration(4000)
    ('7.4 s', '3 min 31 s', '1 h 6 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
