"""Shows what a dry run found."""

from yurt.cli.output import print_json
from yurt.errors import Exhausted


def rehearsed(operation: "dict[str, object]") -> int:
    """Print the findings as JSON. Raises Exhausted when it would not fit on this host."""
    result = operation.get("result")
    print_json(result)
    admission = result.get("admission") if isinstance(result, dict) else None
    if isinstance(admission, dict) and not admission.get("fits", True):
        raise Exhausted(str(admission.get("message")), hint=str(admission.get("hint")))
    return 0
