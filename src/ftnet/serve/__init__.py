"""A server to try load on: known delays, failures and a resource with a known knee.

`ftnet serve` runs it. It needs the extra `serve` (aiohttp); importing this package alone loads
nothing.
"""
