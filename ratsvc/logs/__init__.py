"""The engines that keep records, behind one protocol."""
