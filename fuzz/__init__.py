"""`make fuzz`: damaged files of every kind that dataengine reads, for as long as you like. See docs/guarantees.md."""
