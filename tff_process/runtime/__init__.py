"""Resident execution: private state stays in the workers between rounds, faults are survived, and workers may sit in silos."""
