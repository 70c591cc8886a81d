"""In which encoding a text file is written: UTF-8, or UTF-16 and UTF-32 as some programs save it. Knows bytes."""

HEAD_BYTES = 4096  # that tell

_MARKS = {  # the longer ones first, since one begins as another does
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
_NUL_SHARE = 0.25  # of the bytes: far above that of text with a NUL astray, below that of UTF-16


def marked_encoding(head: bytes) -> str | None:
    """The encoding that a byte order mark names; None is UTF-8."""
    return next((encoding for mark, encoding in _MARKS.items() if head.startswith(mark)), None)


def unmarked_encoding(head: bytes) -> str | None:
    """For people: what text with this many NUL bytes is likely written in; None is UTF-8."""
    if head.count(0) <= _NUL_SHARE * len(head) or 0 not in head[:2]:
        return None
    width = 4 if head.count(0) > 0.6 * len(head) else 2
    order = "LE" if head[0::width].count(0) <= head[width - 1 :: width].count(0) else "BE"
    return f"UTF-{8 * width}{order}"
