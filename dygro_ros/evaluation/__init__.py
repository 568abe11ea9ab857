"""Evaluation logic without ROS: plan, ledger, the trial at hand, statistics, report, replay."""
