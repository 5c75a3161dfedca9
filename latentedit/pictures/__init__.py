"""Pictures in and out, and pages and plots of them; nothing here knows a direction."""
