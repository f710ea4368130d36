"""Child processes that do one job and give all of their memory back. No room's knowledge here."""
