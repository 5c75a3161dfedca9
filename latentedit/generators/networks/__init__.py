"""The plain torch modules of each family; nothing here knows files, names or contracts."""
