"""The networks that taggers run; nothing here knows tags."""
