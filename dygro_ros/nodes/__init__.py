"""The ROS 2 nodes: parameters in, messages out; what they do is in the modules beside this package."""
