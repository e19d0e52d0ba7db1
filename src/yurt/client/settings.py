"""Values of settings as the API takes them: text, as on the command line."""


def setting_text(value: object) -> str:
    """A Python value as the text that `yurt set` would be given; None is no limit."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
