"""rosbag2 (MCAP, SQLite) in: messages at any rate become control steps."""
