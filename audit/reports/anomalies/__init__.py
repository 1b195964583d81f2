"""What is worth a look: unusual volume, bursts of denials, off-hours, many persons, emergencies nobody reviewed."""
