"""The ROS 2 nodes: recogniser and player."""
