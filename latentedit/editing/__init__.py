"""Editing codes, and the pictures that show it."""
