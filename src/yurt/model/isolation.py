"""What stands between a guest and its host, in one word and one line. Pure."""

from collections.abc import Collection

from yurt.model.instance import Kind, Privilege

NESTING = (
    "root in it may mount, make namespaces and use every capability inside its own user namespace; "
    "more of the host's kernel is within its reach"
)
TCG = (
    "its processor is emulated by a program that nobody promises cannot be broken out of; "
    "the jail around that program still stands"
)
KVM = "a virtual machine in hardware, with a jail around it"
NAMESPACES = "it shares the host's kernel, in namespaces with users of its own and a filter of system calls"


def isolation(kind: Kind, accelerator: str, privileges: Collection[Privilege] = ()) -> tuple[str, str]:
    """The word and what it means; both empty for a machine that has not been started yet.

    `none (TCG)`, `kvm`, `namespaces` or `namespaces, nesting`.
    """
    if kind is Kind.CONTAINER:
        if Privilege.NESTING in privileges:
            return "namespaces, nesting", f"{NAMESPACES}; {NESTING}"
        return "namespaces", NAMESPACES
    return {"kvm": ("kvm", KVM), "tcg": ("none (TCG)", TCG)}.get(accelerator, ("", ""))
