"""The firewall's rule sets as nft text: whole ones, and the small changes of one network or one port. Pure.

`host/nft.py` loads what comes out of here, one text per transaction; texts may be joined to make one transaction.
"""

from yurt.network.firewall.changes import (
    add_network,
    add_port,
    change_port,
    gone,
    learned,
    remove_network,
    remove_port,
    whole,
)
from yurt.network.firewall.names import table_name
from yurt.network.firewall.types import NetworkRules, PortBinding

__all__ = [
    "NetworkRules",
    "PortBinding",
    "add_network",
    "add_port",
    "change_port",
    "gone",
    "learned",
    "remove_network",
    "remove_port",
    "table_name",
    "whole",
]
