"""A robot behind ROS 2 topics."""
