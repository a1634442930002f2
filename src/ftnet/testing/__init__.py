"""Servers to test against on the loopback: importing this package alone loads nothing."""
