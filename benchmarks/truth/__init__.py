"""How true a profile is: each of its fields against the packets that went over the wire."""
