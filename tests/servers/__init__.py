"""Servers of our own for the tests: those that no kept library would write."""
