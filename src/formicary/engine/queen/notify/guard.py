"""Which addresses the queen calls: a job file names URLs, and the queen may stand where its author may not go.

Names are resolved here and the connection goes to the address that was checked: a name that answers differently the
second time gains nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from formicary.engine.queen.notify.attempts import NotDelivered

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(address: _Address) -> bool:
    """Whether an address is of the open Internet; the one that an IPv6 address stands for counts."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast


async def checked_address(host: str, port: int, *, may_reach_private: bool) -> str:
    """The address to connect to. Raises NotDelivered where the name has none or must not be called."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotDelivered(f"{host} has no address: {error}.") from error
    addresses = [str(one[4][0]) for one in found]
    if not may_reach_private:
        for one in addresses:
            if not is_public(ipaddress.ip_address(one.partition("%")[0])):
                text = f"{host} is not a public address, and this server does not call others (--notify-private)."
                raise NotDelivered(text, is_final=True)
    if not addresses:
        raise NotDelivered(f"{host} has no address.")
    return addresses[0]
