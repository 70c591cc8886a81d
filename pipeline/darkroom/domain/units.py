"""Numbers for people."""


def readable_bytes(size_bytes: float) -> str:
    """Such as 1.4 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"
