"""The one Name type: what an instance or an image may be called, and how names are made up."""

import re
from typing import NewType

from yurt.errors import Invalid

Name = NewType("Name", str)
InstanceId = NewType("InstanceId", str)  # 12 lower-case hex digits, never reused

NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
REFERENCE_PATTERN = r"^[a-z0-9]+([._-][a-z0-9]+)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$"
LABEL_KEY_PATTERN = r"^[a-z0-9]([a-z0-9._/-]{0,61}[a-z0-9])?$"
_NAME = re.compile(NAME_PATTERN)
_REFERENCE = re.compile(REFERENCE_PATTERN)
_LABEL_KEY = re.compile(LABEL_KEY_PATTERN)

ADJECTIVES = (
    "amber ample blue bold brave bright brisk calm clear clever cosy crisp deft eager early fair "
    "fond free fresh gentle glad golden grand green happy hardy jolly keen kind lively lucky mellow "
    "merry mild neat nimble noble patient plain proud quick quiet rapid ready rosy round sharp "
    "silver smooth snug solid steady still sunny swift tidy trusty warm wise witty young"
).split()
NOUNS = (
    "badger beaver birch brook cedar condor coral crane creek dune eagle elk falcon fern finch fjord "
    "fox gecko glade grove harbor hare hawk heron hill ibex island lake lark lemur lynx maple marten "
    "meadow mesa moose newt oak orca otter owl panda pebble pine plover pony puffin quail raven reef "
    "river robin sparrow spruce steppe stork summit swan tern thrush tiger trout valley walrus willow wren yak"
).split()


def parse_name(text: str) -> Name:
    """Check an instance name (a DNS label). Raises Invalid."""
    if not _NAME.fullmatch(text):
        raise Invalid(
            f"`{printable(text)}` is not a valid name",
            hint="use 1 to 63 lower-case letters, digits and inner dashes, such as `web-1`",
        )
    return Name(text)


def parse_reference(text: str) -> str:
    """Check an image reference `name[:tag]`; the tag defaults to `latest`. Raises Invalid."""
    if len(text) > 255 or not _REFERENCE.fullmatch(text):
        raise Invalid(f"`{printable(text)}` is not a valid image name", hint="see `yurt image ls`")
    return text if ":" in text else text + ":latest"


def parse_label(text: str) -> tuple[str, str]:
    """Split `key=value`. The key is 1 to 63 of `a-z 0-9 . _ / -`; the value is 0 to 255 printable characters."""
    key, _, value = text.partition("=")
    check_label(key, value)
    return key, value


def check_label(key: str, value: str) -> None:
    """Raise Invalid unless both halves of a label are in form."""
    if not _LABEL_KEY.fullmatch(key) or len(value) > 255 or not value.isprintable():
        raise Invalid(
            f"`{printable(key)}={printable(value)}` is not a valid label", hint="write a label as `key=value`"
        )


def made_up_name(number: int) -> Name:
    """Two words for any non-negative number; equal numbers give equal names."""
    return Name(f"{ADJECTIVES[number % len(ADJECTIVES)]}-{NOUNS[number // len(ADJECTIVES) % len(NOUNS)]}")


def printable(text: str, limit: int = 80) -> str:
    """Make text from outside safe to show on one line of a terminal."""
    shown = (
        text[:limit].encode("unicode_escape").decode("ascii")
        if not text[:limit].isprintable()
        else text[:limit]
    )
    return shown + ("…" if len(text) > limit else "")
