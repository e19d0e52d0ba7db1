"""Finds what somebody meant."""


def suggestion(word: str, known: "list[str]") -> str:
    """The known word nearest to a misspelt one, or an empty text."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, known, n=1, cutoff=0.6)), "")
