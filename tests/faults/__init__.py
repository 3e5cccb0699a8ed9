"""What is promised, under faults: each test breaks something, and one checker compares everybody's notes."""
