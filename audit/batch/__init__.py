"""What a batch decided about each subject: its lines, the tree over them, and the proof of one."""
