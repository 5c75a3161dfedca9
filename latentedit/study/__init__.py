"""A study: a protocol as data, measured, as numbers, as a report; editors side by side; the demo."""
