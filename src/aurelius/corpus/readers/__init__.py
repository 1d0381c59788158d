"""Readers: from files, folders, archives and the hub to documents."""
