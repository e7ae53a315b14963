"""What listeners say of themselves, for people to see: that they are there, what they wait for, on which farm."""
