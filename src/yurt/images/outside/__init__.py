"""What comes from outside: disk images and archives that nobody vouches for. See docs/import.md."""
