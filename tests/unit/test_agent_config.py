"""What the agent is told: the bytes are an agreement with a program in another language, so they are written down here."""

import pytest

from yurt.drivers.agent.config import BootConfig, encode_config, encode_exec
from yurt.errors import Invalid
from yurt.model.process import ExecRequest

GOLDEN = (
    "5955525443464731 9b000000"  # YURTCFG1, length
    "0100 07000000 6d6963726f766d"  # mode: microvm
    "0200 05000000 7765622d31"  # hostname: web-1
    "0500 02000000 7368"  # command: sh
    "0500 02000000 2d63"  # -c
    "0500 00000000"  # an empty word counts
    "0600 03000000 413d62"  # env: A=b
    "0800 04000000 726f6f74"  # user: root
    "0900 04000000 01000000"  # tty
    "0b00 04000000 75736572"  # network: user
    "0c00 0c000000 31302e302e322e31352f3234"  # address: 10.0.2.15/24
    "0f00 08000000 2f6465762f766461"  # root device: /dev/vda
    "1000 20000000 3031323334353637383961626364656630313233343536373839616263646566"  # machine id
)


def test_the_boot_configuration_as_bytes() -> None:
    config = BootConfig(
        mode="microvm",
        hostname="web-1",
        command=("sh", "-c", ""),
        env={"A": "b"},
        user="root",
        tty=True,
        network="user",
        address="10.0.2.15/24",
        machine_id="0123456789abcdef0123456789abcdef",
    )
    assert encode_config(config).hex() == GOLDEN.replace(" ", "")


def test_bytes_that_are_no_text_pass_through() -> None:
    odd = b"\xff\xfe".decode("utf-8", "surrogateescape")
    assert b"\xff\xfe" in encode_exec(ExecRequest(argv=("cat", odd)))


@pytest.mark.parametrize(
    "request_",
    [
        ExecRequest(argv=()),
        ExecRequest(argv=("",)),
        ExecRequest(argv=("a\0b",)),
        ExecRequest(argv=("a",), env={"A=B": "c"}),
        ExecRequest(argv=("a",), env={"": "c"}),
        ExecRequest(argv=("a",), user="r\0oot"),
        ExecRequest(argv=("a", *("b" * 100_000 for _ in range(11)))),
    ],
)
def test_what_cannot_be_passed_to_a_program_is_refused(request_: ExecRequest) -> None:
    with pytest.raises(Invalid):
        encode_exec(request_)
