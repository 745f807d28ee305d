"""Which client sent a request; each has its share of the queue."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_network

from starlette.types import Scope

KEY = "zerostall.key"  # in a request's scope: which of the keys it came with


def client_of(scope: Scope) -> str:
    """The number of a request's key, or the address it came from where there are no keys.

    Nothing that its sender may choose, such as `user` or X-Forwarded-For: whoever sends much would
    be many.
    """
    if KEY in scope:
        return f"key {scope[KEY]}"
    host, _ = scope.get("client") or ("unknown", 0)
    return f"address {_network(host)}"


def _network(host: str) -> str:
    """The address, of IPv6 the /64 that it is in, where a host may have as many as it likes."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv4Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((address, 64), strict=False))
