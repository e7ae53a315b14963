"""What documents say: pure functions without I/O, one home for each rule."""
