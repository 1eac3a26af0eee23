"""What an update needs beside its losses."""
