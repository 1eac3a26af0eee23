"""The person beside a robot: commands, taking over, files that say something."""
