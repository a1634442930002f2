"""What `ftnet` does when the other side, the way to it or the caller is at fault."""
