"""Files of other projects, read without running code that they carry."""
