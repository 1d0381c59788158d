"""From files, folders, archives and the hub to stories."""
